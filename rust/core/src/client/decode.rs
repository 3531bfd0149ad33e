//! Responses: from wire bytes to events, strictly (RFC 9112 and the contract).
//!
//! A pull parser: [`Decoder::next`] consumes part of its input and returns an event; body bytes are slices of that
//! input, never copied. It keeps at most one line and the heads, both limited, so any split of the input gives the same
//! events.
//!
//! Not here: content codings (`decompress.rs`), and the end of the connection, except for its effect on the body
//! ([`Decoder::finish`]).

use super::error::{CallError, ErrorKind};
use super::headers::Headers;
use super::lines::{self, latin1};
pub use crate::grammar::Version;
use crate::grammar::{MAX_EXTENSIONS, MAX_HEAD, is_bodyless};

/// Longest line, without its CRLF.
const MAX_LINE: usize = 16190;
/// Type and major version of the record.
const TLS_ALERT: [u8; 2] = [21, 3];

/// An event of [`Decoder::next`].
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// All input is consumed, more is needed.
    More,
    /// The status line of the final response: [`Decoder::status`].
    Status,
    /// The empty line after the headers: [`Decoder::headers`].
    Headers,
    /// A piece of the body, never empty.
    Body(&'a [u8]),
    /// Trailers, merged into [`Decoder::headers`].
    Trailers,
    /// The response is complete. Input after it is not consumed.
    End,
}

/// Where the decoder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Before or in the status line.
    Status,
    /// In the headers.
    Headers,
    /// In a body of known length.
    Fixed,
    /// Before a chunk.
    ChunkSize,
    /// In a chunk.
    Chunk,
    /// After a chunk.
    ChunkEnd,
    /// After the last chunk.
    Trailers,
    /// In a body that ends with the connection.
    UntilClose,
    /// Complete.
    Done,
}

/// Decoder of one response.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    head_request: bool,
    line: Vec<u8>,
    head_bytes: usize,
    version: Version,
    status: u16,
    headers: Headers,
    remaining: u64,
    /// Bytes of chunk lines that were not part of a size.
    extensions: usize,
    /// The headers were announced, but their framing not yet checked: an error in it comes after the event.
    framing_due: bool,
    until_close: bool,
    has_trailers: bool,
    end_due: bool,
}

impl Decoder {
    /// A decoder for the response to a HEAD request, or to any other.
    pub fn new(head_request: bool) -> Self {
        Self {
            state: State::Status,
            head_request,
            line: Vec::new(),
            head_bytes: 0,
            version: Version::Http11,
            status: 0,
            headers: Headers::default(),
            remaining: 0,
            extensions: 0,
            framing_due: false,
            until_close: false,
            has_trailers: false,
            end_due: false,
        }
    }

    /// Where the decoder stands.
    pub fn state(&self) -> State {
        self.state
    }

    /// Version of the response, once its status line has arrived.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Status of the response, 0 until its status line has arrived.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The headers so far.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Whether no line of the response has arrived yet, not even a 1xx one.
    pub(super) fn untouched(&self) -> bool {
        self.state == State::Status && self.head_bytes == 0
    }

    /// Consumes part of `input` and returns its event. After [`Event::End`] it returns `End` again.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Event<'a>, CallError> {
        loop {
            if let Some(event) = self.step(input)? {
                return Ok(event);
            }
        }
    }

    /// As [`Decoder::next`]; `None` instead of consuming bytes of the body.
    pub(super) fn next_but_body<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Result<Option<Event<'a>>, CallError> {
        while !self.in_body() {
            if let Some(event) = self.step(input)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Whether the next byte, if there is one, is of the body.
    pub(super) fn in_body(&self) -> bool {
        match self.state {
            State::Fixed | State::Chunk => self.remaining > 0,
            State::UntilClose => true,
            _ => false,
        }
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, CallError> {
        if self.framing_due {
            self.framing_due = false;
            self.begin_body()?;
            return Ok(None);
        }
        if self.end_due {
            self.end_due = false;
            self.state = State::Done;
        }
        Ok(match self.state {
            State::Done => Some(Event::End),
            State::Fixed => self.fixed(input),
            State::Chunk => self.chunk(input),
            State::UntilClose => take(input, u64::MAX),
            State::Status | State::Headers | State::Trailers => self.head_line(input)?,
            State::ChunkSize | State::ChunkEnd => self.chunk_line(input)?,
        })
    }

    /// The connection ended: `Ok` if that completes the response.
    pub fn finish(&mut self) -> Result<(), CallError> {
        if self.state == State::UntilClose {
            self.state = State::Done;
        }
        match self.state {
            State::Done => Ok(()),
            _ => Err(self.perhaps_tls(CallError::unexpected_eof())),
        }
    }

    /// Reports a TLS alert in place of the first line: from a peer that takes a request in the clear for a broken
    /// handshake.
    fn perhaps_tls(&self, error: CallError) -> CallError {
        if self.untouched() && self.line.starts_with(&TLS_ALERT) {
            let text = error.message;
            return CallError::protocol(format!(
                "{text} (the peer speaks TLS: should the URL begin with https:// ?)"
            ));
        }
        error
    }

    /// Whether this response allows another request on its connection.
    pub fn reusable(&self) -> bool {
        if self.state != State::Done || self.until_close || self.status == 101 {
            return false;
        }
        // RFC 9112 9.3
        if self.headers.has_token("connection", "close") {
            return false;
        }
        match self.version {
            Version::Http11 => true,
            Version::Http10 => {
                self.headers.has_token("connection", "keep-alive")
                    && self.headers.all("transfer-encoding").next().is_none()
            }
        }
    }

    /// Whether the sender of this complete response still wants the rest of the request: it has neither refused nor
    /// redirected its body, nor said that it closes the connection.
    pub(super) fn wants_request(&self) -> bool {
        self.status < 400
            && !matches!(self.status, 101 | 307 | 308)
            && !self.until_close
            && !self.headers.has_token("connection", "close")
    }

    /// Length of the body that follows [`Event::Headers`], if the head announces it.
    pub(super) fn announced(&self) -> Option<u64> {
        let chunked = self.has("transfer-encoding");
        let length = self.headers.get("content-length");
        let length = length.filter(|_| self.framing_due && !chunked)?;
        lines::content_length(&length).ok()
    }

    fn fixed<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        if self.remaining == 0 {
            self.state = State::Done;
            return None;
        }
        self.counted(input)
    }

    fn chunk<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        if self.remaining == 0 {
            self.state = State::ChunkEnd;
            return None;
        }
        self.counted(input)
    }

    fn counted<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let event = take(input, self.remaining);
        if let Some(Event::Body(piece)) = &event {
            self.remaining -= piece.len() as u64;
        }
        event
    }

    fn head_line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, CallError> {
        let Some(line) = self.read_line(input)? else {
            return Ok(Some(Event::More));
        };
        self.count_head(line.len())?;
        match self.state {
            State::Status => self.status_line(&line),
            State::Headers if line.is_empty() => self.headers_end(),
            State::Trailers if line.is_empty() => Ok(self.trailers_end()),
            _ => self.header_line(&line).map(|()| None),
        }
        .inspect(|_| self.recycle(line))
    }

    fn chunk_line<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, CallError> {
        let Some(line) = self.read_line(input)? else {
            return Ok(Some(Event::More));
        };
        if self.state == State::ChunkEnd {
            if !line.is_empty() {
                let found = latin1(&line);
                return Err(CallError::protocol(format!(
                    "Expected an empty line, but found {found}"
                )));
            }
            self.state = State::ChunkSize;
        } else if line.is_empty() {
            // Blank lines count as head bytes, or a peer could send them forever.
            self.count_head(0)?;
        } else {
            self.remaining = self.chunk_size(&line)?;
            self.state = match self.remaining {
                0 => State::Trailers,
                _ => State::Chunk,
            };
        }
        self.recycle(line);
        Ok(None)
    }

    fn chunk_size(&mut self, line: &[u8]) -> Result<u64, CallError> {
        let (size, extra) = lines::chunk_size(line)?;
        self.extensions += extra;
        if self.extensions > MAX_EXTENSIONS {
            return Err(CallError::protocol(format!(
                "Chunk extensions exceed {MAX_EXTENSIONS} bytes"
            )));
        }
        Ok(size)
    }

    /// One line without its CRLF, or `None` if `input` ended before it.
    fn read_line(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, CallError> {
        let end = input.iter().position(|byte| *byte == b'\n');
        let (piece, rest) = match end {
            Some(at) => (&input[..at], &input[at + 1..]),
            None => (*input, &input[input.len()..]),
        };
        // A piece over the limit is refused before it is kept.
        if self.line.len() + piece.len() > MAX_LINE + 1 {
            return Err(line_too_large());
        }
        self.line.extend_from_slice(piece);
        *input = rest;
        let cr = self.line.last() == Some(&b'\r');
        if self.line.len() - usize::from(cr) > MAX_LINE {
            return Err(line_too_large());
        }
        if end.is_none() {
            return Ok(None);
        }
        if !cr {
            return Err(self.perhaps_tls(CallError::protocol("Expected CR before LF")));
        }
        self.line.pop();
        Ok(Some(std::mem::take(&mut self.line)))
    }

    /// Keeps a line's memory for the next one.
    fn recycle(&mut self, mut line: Vec<u8>) {
        line.clear();
        self.line = line;
    }

    fn count_head(&mut self, line: usize) -> Result<(), CallError> {
        self.head_bytes += line + 2;
        if self.head_bytes > MAX_HEAD {
            return Err(CallError::new(
                ErrorKind::HeadersTooLarge,
                "HTTP headers exceed 65536 bytes",
            ));
        }
        Ok(())
    }

    fn status_line<'a>(&mut self, line: &[u8]) -> Result<Option<Event<'a>>, CallError> {
        (self.version, self.status) = lines::status(line)?;
        self.state = State::Headers;
        Ok((!self.interim()).then_some(Event::Status))
    }

    /// 1xx other than 101 is skipped, whatever its headers.
    fn interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    fn header_line(&mut self, line: &[u8]) -> Result<(), CallError> {
        let (name, value) = lines::header(line)?;
        if self.state == State::Trailers {
            self.has_trailers = true;
            lines::check_trailer(name)?;
        }
        if !self.interim() {
            self.headers.push(name, value);
        }
        Ok(())
    }

    fn headers_end<'a>(&mut self) -> Result<Option<Event<'a>>, CallError> {
        if self.interim() {
            self.headers.clear();
            self.status = 0;
            self.state = State::Status;
            return Ok(None);
        }
        if self.bodyless() {
            self.end_due = true;
            return Ok(Some(Event::Headers));
        }
        if self.has("transfer-encoding") && self.has("content-length") {
            return Err(CallError::protocol(
                "Response contains both Transfer-Encoding and Content-Length",
            ));
        }
        self.framing_due = true;
        Ok(Some(Event::Headers))
    }

    fn has(&self, name: &str) -> bool {
        self.headers.all(name).next().is_some()
    }

    fn bodyless(&self) -> bool {
        self.head_request || is_bodyless(self.status)
    }

    fn begin_body(&mut self) -> Result<(), CallError> {
        if let Some(coding) = self.headers.get("transfer-encoding") {
            if !coding.eq_ignore_ascii_case(b"chunked") {
                let coding = latin1(&coding);
                return Err(CallError::protocol(format!(
                    "Unsupported Transfer-Encoding: {coding}"
                )));
            }
            self.state = State::ChunkSize;
        } else if let Some(length) = self.headers.get("content-length") {
            self.remaining = lines::content_length(&length)?;
            self.state = State::Fixed;
        } else {
            self.until_close = true;
            self.state = State::UntilClose;
        }
        Ok(())
    }

    fn trailers_end<'a>(&mut self) -> Option<Event<'a>> {
        if !self.has_trailers {
            self.state = State::Done;
            return None;
        }
        self.end_due = true;
        Some(Event::Trailers)
    }
}

fn take<'a>(input: &mut &'a [u8], most: u64) -> Option<Event<'a>> {
    if input.is_empty() {
        return Some(Event::More);
    }
    let length = usize::try_from(most).map_or(input.len(), |most| most.min(input.len()));
    let (piece, rest) = input.split_at(length);
    *input = rest;
    Some(Event::Body(piece))
}

fn line_too_large() -> CallError {
    CallError::new(ErrorKind::LineTooLarge, "exceed max line 16192")
}
