//! Request heads: from bytes on the socket to spans into those bytes.
//!
//! A head is parsed once and never copied: [`RequestHead`] holds offsets, and the bytes stay in the connection's buffer
//! until the exchange ends. A string is made from a span only at the border, if one is needed.
//!
//! Strict where leniency lets two parsers disagree about where a request ends
//! (RFC 9112 11.2): white space, line ends, lengths, `Host`.

use super::authority;
pub use super::authority::Authority;
use super::line::{Line, LineScanner, split_header};
pub(crate) use super::names::id_of;
use super::names::method_id;
pub use super::names::{
    EXTENSION_METHOD, KNOWN_HEADERS, METHODS, UNKNOWN_HEADER, known_header, known_method,
};
use super::{Limits, Span};
use crate::error::Violation;
pub use crate::grammar::Version;
use crate::grammar::decimal;

/// How the body that follows a head is delimited (RFC 9112 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFraming {
    /// No body, also for `Content-Length: 0`.
    #[default]
    None,
    /// This many bytes, at least one and at most `Limits::body`.
    Length(u64),
    /// Chunks and trailers, for a [`ChunkedDecoder`](super::ChunkedDecoder).
    Chunked,
}

/// One header line; the value is without surrounding white space, and may be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// As received, in any letter case; never empty.
    pub name: Span,
    /// Without control characters except TAB.
    pub value: Span,
    /// Index into [`KNOWN_HEADERS`], or [`UNKNOWN_HEADER`].
    pub id: u8,
}

/// A request's head as spans into the buffer it was parsed from.
#[derive(Clone, Debug, Default)]
pub struct RequestHead {
    /// A token without lower-case letters.
    pub method: Span,
    /// Index into [`METHODS`], or [`EXTENSION_METHOD`].
    pub method_id: u8,
    /// As received: origin, absolute, authority or asterisk form.
    pub target: Span,
    /// Of the request line.
    pub version: Version,
    /// In order of arrival, repeated ones included.
    pub headers: Vec<Header>,
    /// Where the body ends.
    pub framing: BodyFraming,
    /// `None` without a `Host` line, which only HTTP/1.0 may omit.
    pub authority: Option<Authority>,
    /// `Connection` has the token `close`, or the request's end may be in doubt.
    pub close: bool,
    /// `Connection` has the token `keep-alive`.
    pub keep_alive: bool,
    /// `Upgrade` has the token `websocket`, whether or not the handshake is valid.
    pub upgrade_websocket: bool,
    /// HTTP/1.1 with `Expect: 100-continue`.
    pub expect_continue: bool,
    /// Bytes of the head, including its final blank line and any empty line before it.
    pub len: usize,
    /// Bytes before it that count towards its limit, see [`HeadParser::charge`].
    pub charged: usize,
}

impl RequestHead {
    /// Clears the request but keeps the capacity for headers.
    pub fn clear(&mut self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.clear();
        *self = RequestHead {
            headers,
            ..RequestHead::default()
        };
    }

    /// Notes a HEAD whose own line is too long or has a bare CR or LF.
    fn note_head(&mut self, buf: &[u8]) {
        let line = buf.strip_prefix(b"\r\n").unwrap_or(buf);
        if self.method.is_empty() && line.starts_with(b"HEAD ") {
            let start = buf.len() - line.len();
            self.method = Span::new(start, start + 4);
            self.method_id = HEAD;
        }
    }

    /// Whether the response must not have body bytes. Also valid after a violation.
    pub fn is_head(&self) -> bool {
        !self.method.is_empty() && self.method_id == HEAD
    }
}

/// Most bytes of a field name. Reached only with limits far above the defaults: after the parser the length has 16
/// bits.
pub(super) const MAX_NAME: usize = u16::MAX as usize;

const HEAD: u8 = 1;
const CONNECT: u8 = 7;
const CONNECTION: u8 = id_of("connection");
const CONTENT_LENGTH: u8 = id_of("content-length");
const EXPECT: u8 = id_of("expect");
const HOST: u8 = id_of("host");
const TRANSFER_ENCODING: u8 = id_of("transfer-encoding");
const UPGRADE: u8 = id_of("upgrade");

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Phase {
    #[default]
    Start,
    /// One empty line was skipped (RFC 9112 2.2).
    Skipped,
    Headers,
}

/// Parses heads one by one, each from a buffer that begins with it and grows at its end.
#[derive(Debug, Default)]
pub struct HeadParser {
    lines: LineScanner,
    phase: Phase,
    charged: usize,
    content_length: Option<u64>,
    chunked: bool,
}

impl HeadParser {
    /// Ready for a head.
    pub fn new() -> HeadParser {
        HeadParser::default()
    }

    /// Prepares for the next head. [`HeadParser::parse`] does so itself unless it returns `Ok(false)`; needed when a
    /// half-parsed head is abandoned.
    pub fn reset(&mut self) {
        *self = HeadParser::default();
    }

    /// Counts bytes before the head, such as a PROXY line, towards its limit.
    pub fn charge(&mut self, bytes: usize) {
        self.charged = bytes;
    }

    /// Continues parsing, where `buf` is the earlier input plus bytes received since.
    ///
    /// `Ok(true)` once `head` is complete; its body (see [`RequestHead::framing`]) begins at `head.len`. `Ok(false)`
    /// needs more bytes. A line that can no longer become valid is a violation immediately; everything else is checked
    /// once the line is complete. The same bytes give the same result, however they are split.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<bool, Violation> {
        if self.lines.position() == 0 {
            head.clear();
        }
        let outcome = self.parse_lines(buf, limits, head);
        if outcome.is_err() {
            head.note_head(buf);
        }
        if outcome != Ok(false) {
            self.reset();
        }
        outcome
    }

    fn parse_lines(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<bool, Violation> {
        while let Some(line) = self.next_line(buf, limits)? {
            if self.charged + self.lines.position() > limits.head {
                return Err(Violation::HeadTooLarge);
            }
            match self.phase {
                Phase::Headers if line.is_empty() => {
                    self.finish(limits, head)?;
                    return Ok(true);
                }
                Phase::Headers if head.headers.len() >= limits.fields => {
                    return Err(Violation::TooManyFields);
                }
                Phase::Headers => self.header(buf, line, limits, head)?,
                Phase::Start if line.is_empty() => self.phase = Phase::Skipped,
                Phase::Start | Phase::Skipped => {
                    request_line(buf, line, head)?;
                    self.phase = Phase::Headers;
                }
            }
        }
        Ok(false)
    }

    #[inline]
    fn next_line(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Line>, Violation> {
        let next = self.lines.next(buf, limits);
        next.map_err(|violation| match self.phase {
            Phase::Headers => violation.in_header(),
            Phase::Start | Phase::Skipped => violation,
        })
    }

    fn header(
        &mut self,
        buf: &[u8],
        line: Line,
        limits: &Limits,
        head: &mut RequestHead,
    ) -> Result<(), Violation> {
        let [name_end, value_start, value_end] = split_header(buf, line)?;
        let name = Span::new(line.start, name_end);
        let value = Span::new(value_start, value_end);
        if name.len() > MAX_NAME {
            return Err(Violation::HeadTooLarge);
        }
        let id = known_header(name.of(buf)).unwrap_or(UNKNOWN_HEADER);
        head.headers.push(Header { name, value, id });
        let bytes = value.of(buf);
        match id {
            HOST if head.authority.is_some() => return Err(Violation::HostRepeated),
            HOST => {
                let authority = Authority::parse_again(bytes, value_start);
                head.authority = Some(authority.ok_or(Violation::HostInvalid)?);
            }
            CONTENT_LENGTH if self.content_length.is_some() => {
                return Err(Violation::ContentLengthRepeated);
            }
            CONTENT_LENGTH => self.content_length = Some(content_length(bytes, limits)?),
            TRANSFER_ENCODING if self.chunked => return Err(Violation::TransferEncodingRepeated),
            TRANSFER_ENCODING if bytes.eq_ignore_ascii_case(b"chunked") => self.chunked = true,
            TRANSFER_ENCODING => return Err(Violation::TransferEncoding),
            CONNECTION => connection_tokens(bytes, head),
            UPGRADE => head.upgrade_websocket |= has_token(bytes, b"websocket"),
            EXPECT => {
                head.expect_continue |=
                    head.version == Version::Http11 && bytes.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self, limits: &Limits, head: &mut RequestHead) -> Result<(), Violation> {
        if head.authority.is_none() && head.version == Version::Http11 {
            return Err(Violation::HostMissing);
        }
        head.framing = match (self.chunked, self.content_length) {
            (true, Some(_)) => return Err(Violation::LengthConflict),
            (true, None) => BodyFraming::Chunked,
            (false, Some(n)) if n > limits.body => return Err(Violation::BodyTooLarge),
            (false, Some(n)) if n > 0 => BodyFraming::Length(n),
            (false, _) => BodyFraming::None,
        };
        // A proxy that knows only HTTP/1.0 may have seen another end of the body (RFC 9112 6.1).
        head.close |= self.chunked && head.version == Version::Http10;
        head.len = self.lines.position();
        head.charged = self.charged;
        Ok(())
    }
}

/// `METHOD SP target SP version`, nothing more and nothing else between.
fn request_line(buf: &[u8], line: Line, head: &mut RequestHead) -> Result<(), Violation> {
    let bytes = &buf[line.start..line.end];
    let space = bytes
        .iter()
        .position(|&b| b == b' ')
        .ok_or(Violation::RequestLine)?;
    head.method_id = method_id(&bytes[..space])?;
    head.method = Span::new(line.start, line.start + space);
    let rest = &bytes[space + 1..];
    let target_len = rest
        .iter()
        .position(|&b| !is_target(b))
        .unwrap_or(rest.len());
    head.version = match &rest[target_len..] {
        b" HTTP/1.1" => Version::Http11,
        b" HTTP/1.0" => Version::Http10,
        [b' ', version @ ..] if !version.contains(&b' ') => return Err(Violation::Version),
        [] | [b' ', ..] => return Err(Violation::RequestLine),
        _ => return Err(Violation::Target),
    };
    if target_len == 0 {
        return Err(Violation::RequestLine);
    }
    let connect = head.method_id == CONNECT;
    if rest[0] != b'/' && !authority::fits_target(&rest[..target_len], connect) {
        return Err(Violation::Authority);
    }
    let start = line.start + space + 1;
    head.target = Span::new(start, start + target_len);
    Ok(())
}

fn is_target(b: u8) -> bool {
    matches!(b, 0x21..=0x7e | 0xa1..=0xff)
}

/// Numbers beyond an `int` are none, as in http-kit, unless such bodies are allowed.
fn content_length(digits: &[u8], limits: &Limits) -> Result<u64, Violation> {
    let int = i32::MAX as u64;
    let most = if limits.body > int {
        i64::MAX as u64
    } else {
        int
    };
    decimal(digits, most).ok_or(Violation::ContentLength)
}

fn connection_tokens(list: &[u8], head: &mut RequestHead) {
    for token in tokens(list) {
        head.close |= token.eq_ignore_ascii_case(b"close");
        head.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
    }
}

/// Whether a comma-separated list has `token`, in any letter case (RFC 9110 5.6.1).
pub fn has_token(list: &[u8], token: &[u8]) -> bool {
    tokens(list).any(|item| item.eq_ignore_ascii_case(token))
}

pub(super) fn tokens(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|&b| b == b',').map(<[u8]>::trim_ascii)
}
