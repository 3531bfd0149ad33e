//! Protocol errors in a peer's bytes, and the error response for each.

use std::fmt;

/// The rule of HTTP/1.1 (or of PROXY) that a request broke.
///
/// For each, the connection responds with [`Violation::status`] and [`Violation::message`], and closes: after a
/// malformed request it is unknown where the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Violation {
    /// Not `METHOD SP target SP version` (RFC 9112 3).
    RequestLine,
    /// Not a token, or one with lower-case letters.
    Method,
    /// Neither `HTTP/1.0` nor `HTTP/1.1`.
    Version,
    /// Control, white space or one of 0x80-0xA0 in the target.
    Target,
    /// Invalid host and port in a target of absolute or authority form.
    Authority,
    /// LF without CR before it (RFC 9112 2.2 would allow it, the contract does not).
    BareLf,
    /// CR without LF after it.
    BareCr,
    /// Missing colon, or a name that is not a token.
    HeaderName,
    /// Control character other than TAB in a value.
    HeaderValue,
    /// A line that starts with white space (RFC 9112 5.2).
    ObsFold,
    /// HTTP/1.1 without `Host`.
    HostMissing,
    /// Empty, or not a host of RFC 3986 with an optional port.
    HostInvalid,
    /// More than one `Host`, even if equal.
    HostRepeated,
    /// Not a plain decimal number up to 2147483647.
    ContentLength,
    /// More than one `Content-Length`, even if equal.
    ContentLengthRepeated,
    /// `Transfer-Encoding` other than `chunked`.
    TransferEncoding,
    /// More than one `Transfer-Encoding`.
    TransferEncodingRepeated,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 6.3).
    LengthConflict,
    /// Not plain hexadecimal digits, or above 31 bits.
    ChunkSize,
    /// Not what RFC 9112 7.1.1 allows after a chunk's size.
    ChunkExtension,
    /// More than 16 KiB of extensions, and of zeros before sizes, in one body.
    ChunkExtensionsTooLarge,
    /// Chunk data without CRLF after it.
    ChunkEnd,
    /// A trailer line that is not a field line.
    Trailer,
    /// A trailer that would change framing, routing or authentication.
    ForbiddenTrailer,
    /// Announced or received more than `Limits::body`.
    BodyTooLarge,
    /// A request or chunk-size line above `Limits::line`.
    LineTooLong,
    /// A header or trailer line above `Limits::line`.
    HeaderLineTooLong,
    /// Head and trailers together above `Limits::head`.
    HeadTooLarge,
    /// More header lines and trailers than `Limits::fields`.
    TooManyFields,
    /// A PROXY header that is missing or malformed.
    ProxyLine,
}

impl Violation {
    /// Status of the response: 400, 413, 414 or 431.
    ///
    /// 414 also covers chunk-size lines, as in http-kit.
    pub fn status(self) -> u16 {
        match self {
            Violation::BodyTooLarge | Violation::ChunkExtensionsTooLarge => 413,
            Violation::LineTooLong => 414,
            Violation::HeaderLineTooLong | Violation::HeadTooLarge | Violation::TooManyFields => {
                431
            }
            _ => 400,
        }
    }

    /// Turns a broken limit on lines into that for header or trailer lines.
    pub(crate) fn in_header(self) -> Violation {
        match self {
            Violation::LineTooLong => Violation::HeaderLineTooLong,
            other => other,
        }
    }

    /// One sentence for people, sent as the body of the response; never contains the peer's bytes.
    pub fn message(self) -> &'static str {
        use Violation::*;
        match self {
            RequestLine => "Malformed request line",
            Method => "Invalid request method",
            Version => "Unsupported HTTP version",
            Target => "Invalid character in request target",
            Authority => "Invalid host in request target",
            BareLf => "LF without CR",
            BareCr => "CR without LF",
            HeaderName => "Malformed header line",
            HeaderValue => "Invalid character in header value",
            ObsFold => "Folded header lines are not supported",
            HostMissing => "Missing Host header",
            HostInvalid => "Invalid Host header",
            HostRepeated => "Repeated Host header",
            ContentLength => "Invalid Content-Length header",
            ContentLengthRepeated => "Repeated Content-Length header",
            TransferEncoding => "Unsupported Transfer-Encoding",
            TransferEncodingRepeated => "Repeated Transfer-Encoding header",
            LengthConflict => "Content-Length together with Transfer-Encoding",
            ChunkSize => "Invalid chunk size",
            ChunkExtension => "Invalid chunk extension",
            ChunkExtensionsTooLarge => "Chunk extensions too large",
            ChunkEnd => "Chunk does not end with CRLF",
            Trailer => "Malformed trailer line",
            ForbiddenTrailer => "Forbidden trailer",
            BodyTooLarge => "Request body too large",
            LineTooLong => "Request line or chunk-size line too long",
            HeaderLineTooLong => "Header line too long",
            HeadTooLarge => "Request header fields too large",
            TooManyFields => "Too many request header fields",
            ProxyLine => "Invalid PROXY protocol header",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Violation {}
