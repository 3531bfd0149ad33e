//! Responses: status lines, framing headers, and which of them a response may or must have.
//!
//! The server owns framing: the embedder gives status, headers and body, and these functions add the length and whether
//! the connection is kept.

use super::head::tokens;
use crate::error::Violation;
use crate::grammar::Version;
pub use crate::grammar::is_bodyless;

/// The end of a chunked body without trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// `transfer-encoding: chunked` as a header line.
pub const TRANSFER_ENCODING_CHUNKED: &[u8] = b"Transfer-Encoding: chunked\r\n";

/// Says that the connection ends after this response.
pub const CONNECTION_CLOSE: &[u8] = b"Connection: Close\r\n";
const CONNECTION_KEEP_ALIVE: &[u8] = b"Connection: Keep-Alive\r\n";

macro_rules! status_lines {
    ($($code:literal $reason:literal,)*) => {
        /// The whole status line of a code that has a name.
        fn known_status_line(status: u16) -> Option<&'static [u8]> {
            match status {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $reason, "\r\n").as_bytes()),)*
                _ => None,
            }
        }
    };
}

status_lines! {
    100 "Continue",
    101 "Switching Protocols",
    102 "Processing",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Request Entity Too Large",
    414 "Request-URI Too Long",
    415 "Unsupported Media Type",
    416 "Requested Range Not Satisfiable",
    417 "Expectation Failed",
    421 "Misdirected Request",
    422 "Unprocessable Entity",
    423 "Locked",
    424 "Failed Dependency",
    425 "Unordered Collection",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    510 "Not Extended",
    511 "Network Authentication Required",
}

/// Appends `HTTP/1.1 200 OK` with its CRLF, whatever version the request had.
///
/// `status` is three digits, 100-999; a code without a name gets that of its class.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    if let Some(line) = known_status_line(status) {
        return out.extend_from_slice(line);
    }
    let class: &[u8] = match status / 100 {
        1 => b"Informational",
        2 => b"Successful",
        3 => b"Redirection",
        4 => b"Client Error",
        5 => b"Server Error",
        _ => b"Unknown Status",
    };
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, status.into());
    out.push(b' ');
    out.extend_from_slice(class);
    out.extend_from_slice(b"\r\n");
}

/// Appends `content-length: n` as a header line.
pub fn content_length(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(b"content-length: ");
    decimal(out, n);
    out.extend_from_slice(b"\r\n");
}

/// Appends the line before a chunk of `n` bytes; another CRLF follows the chunk.
///
/// `n` must not be 0: that would end the body.
pub fn chunk_header(out: &mut Vec<u8>, n: u64) {
    debug_assert!(n > 0, "an empty chunk ends the body");
    digits::<16>(out, n);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, n: u64) {
    digits::<10>(out, n);
}

fn digits<const BASE: u64>(out: &mut Vec<u8>, mut n: u64) {
    let mut buf = [0; 20];
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b"0123456789abcdef"[(n % BASE) as usize];
        n /= BASE;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&buf[at..]);
}

/// Which `content-length` a response has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LengthHeader {
    /// The length of the given body, even in a response to HEAD, which omits the body.
    OfBody,
    /// 0: the status says that there is no body, and the header says so again.
    Zero,
    /// None at all.
    Absent,
    /// The handler's own, if it gave one; else none.
    AsGiven,
}

/// The rule for `content-length` of a response that is sent in one piece.
pub fn length_header(status: u16) -> LengthHeader {
    match status {
        100..=199 | 204 => LengthHeader::Absent,
        205 => LengthHeader::Zero,
        304 => LengthHeader::AsGiven,
        _ => LengthHeader::OfBody,
    }
}

/// How a response of unknown length is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamFraming {
    /// HTTP/1.1: chunks, the last of them empty.
    Chunked,
    /// HTTP/1.0: raw bytes until the connection closes, announced by `Connection: Close`.
    UntilClose,
    /// It cannot have a body that arrives later: respond in one piece.
    Whole,
}

/// The rule for responses that a handler streams.
pub fn stream_framing(
    status: u16,
    version: Version,
    head_request: bool,
    websocket: bool,
) -> StreamFraming {
    if head_request || websocket || is_bodyless(status) {
        return StreamFraming::Whole;
    }
    match version {
        Version::Http11 => StreamFraming::Chunked,
        Version::Http10 => StreamFraming::UntilClose,
    }
}

/// What decides whether a connection is kept after a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Persistence {
    /// The request's.
    pub version: Version,
    /// The request's `Connection` had `close`.
    pub close: bool,
    /// The request's `Connection` had `keep-alive`.
    pub keep_alive: bool,
    /// The request asked for a WebSocket and gets an ordinary response.
    pub websocket: bool,
    /// The response's own `Connection` has `close`.
    pub handler_close: bool,
    /// The server has reasons of its own to end the connection.
    pub stopping: bool,
    /// The response ends with the connection, see [`StreamFraming::UntilClose`].
    pub until_close: bool,
}

/// Whether the connection is kept, and how the peer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRule {
    /// Close once the response is written.
    pub close: bool,
    /// The `Connection` line to write, see [`replace_connection`]; empty: the handler's stays as it is.
    pub line: &'static [u8],
}

impl Persistence {
    /// Whether to close, and the `Connection` line that says so (RFC 9112 9.3).
    pub fn rule(self) -> ConnectionRule {
        let (close, line): (bool, &'static [u8]) = match self.version {
            _ if self.websocket || self.until_close => (true, CONNECTION_CLOSE),
            Version::Http11 if self.close => (true, CONNECTION_CLOSE),
            _ if self.handler_close => (true, b""),
            _ if self.stopping => (true, CONNECTION_CLOSE),
            Version::Http11 => (false, b""),
            Version::Http10 if self.keep_alive && !self.close => (false, CONNECTION_KEEP_ALIVE),
            Version::Http10 => (true, b""),
        };
        ConnectionRule { close, line }
    }
}

/// Appends header lines, and `line` instead of `keep-alive` in those of `Connection`. Its other options stay: they list
/// the fields that are for the next hop only (RFC 9110 7.6.1).
pub fn replace_connection(out: &mut Vec<u8>, headers: &[u8], line: &[u8]) {
    const NAME: &[u8] = b"connection:";
    for header in headers.split_inclusive(|&b| b == b'\n') {
        match header.split_at_checked(NAME.len()) {
            Some((name, list)) if name.eq_ignore_ascii_case(NAME) => other_options(out, list),
            _ => out.extend_from_slice(header),
        }
    }
    out.extend_from_slice(line);
}

fn other_options(out: &mut Vec<u8>, list: &[u8]) {
    let is_other =
        |option: &&[u8]| !option.is_empty() && !option.eq_ignore_ascii_case(b"keep-alive");
    let options: Vec<_> = tokens(list).filter(is_other).collect();
    if !options.is_empty() {
        header(out, b"Connection", &options.join(&b", "[..]));
    }
}

/// Appends `Server` (unless `None`) and `Date` as header lines.
pub fn server_and_date(out: &mut Vec<u8>, server: Option<&[u8]>, date: &[u8]) {
    if let Some(server) = server {
        header(out, b"Server", server);
    }
    header(out, b"Date", date);
}

/// Appends one header line unchanged; name and value are the caller's responsibility.
pub fn header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the whole response to a request that broke a rule; the connection closes after it.
pub fn error_response(
    out: &mut Vec<u8>,
    violation: Violation,
    head_request: bool,
    server: Option<&[u8]>,
    date: &[u8],
) {
    let message = violation.message().as_bytes();
    last_response(out, violation.status(), message.len(), server, date);
    if !head_request {
        out.extend_from_slice(message);
    }
}

/// Appends the head of a response with `len` bytes of content, after which the connection closes.
pub fn last_response(
    out: &mut Vec<u8>,
    status: u16,
    len: usize,
    server: Option<&[u8]>,
    date: &[u8],
) {
    status_line(out, status);
    content_length(out, len as u64);
    out.extend_from_slice(CONNECTION_CLOSE);
    server_and_date(out, server, date);
    out.extend_from_slice(b"\r\n");
}

/// Appends the interim response to `Expect: 100-continue`, for a request whose body is incomplete after all received
/// bytes have been read. Once per request.
pub fn continue_response(out: &mut Vec<u8>, server: Option<&[u8]>, date: &[u8]) {
    status_line(out, 100);
    server_and_date(out, server, date);
    out.extend_from_slice(b"\r\n");
}
