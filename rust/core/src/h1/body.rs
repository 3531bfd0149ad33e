//! Chunked bodies (RFC 9112 7.1): from the wire to body bytes.

use super::head::{Header, MAX_NAME, UNKNOWN_HEADER, known_header};
use super::line::{LineScanner, split_header};
use super::names::id_of;
use super::{Limits, Span};
use crate::error::Violation;
use crate::grammar::{Extension, FORBIDDEN_TRAILERS, MAX_CHUNK, MAX_EXTENSIONS, SIZE_DIGITS};

/// [`FORBIDDEN_TRAILERS`] as ids.
const FORBIDDEN_IDS: [u8; FORBIDDEN_TRAILERS.len()] = {
    let mut ids = [0; FORBIDDEN_TRAILERS.len()];
    let mut i = 0;
    while i < ids.len() {
        ids[i] = id_of(FORBIDDEN_TRAILERS[i]);
        i += 1;
    }
    ids
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Before the first digit of a size.
    SizeStart,
    Size,
    Extension(Extension),
    /// After the CR of a size line.
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Decodes one chunked body, in pieces of any size.
///
/// Memory follows the bytes received, never a size that was only announced.
#[derive(Debug)]
pub struct ChunkedDecoder {
    state: State,
    limits: Limits,
    head_len: usize,
    head_fields: usize,
    /// Bytes of the current size line.
    line: usize,
    /// Bytes of all size lines that were not part of a size.
    extensions: usize,
    /// Bytes of the current chunk still to come.
    left: u64,
    /// Of all chunks announced so far.
    total: u64,
    lines: LineScanner,
    trailer_bytes: Vec<u8>,
    trailers: Vec<Header>,
}

impl ChunkedDecoder {
    /// A decoder for the body after a head of `head_len` bytes, with what was charged to it, and `head_fields` header
    /// lines, which share their limits with the trailers.
    pub fn new(limits: &Limits, head_len: usize, head_fields: usize) -> ChunkedDecoder {
        ChunkedDecoder {
            state: State::SizeStart,
            limits: limits.clone(),
            head_len,
            head_fields,
            line: 0,
            extensions: 0,
            left: 0,
            total: 0,
            lines: LineScanner::default(),
            trailer_bytes: Vec::new(),
            trailers: Vec::new(),
        }
    }

    /// Appends the body bytes of `input` to `out`; returns how much of `input` was used and
    /// whether the body is complete. All of `input` is used unless it is.
    ///
    /// The remaining bytes belong to the next request. After a violation the decoder must not be used again.
    pub fn decode<'a>(
        &mut self,
        input: &'a [u8],
        out: &mut impl Extend<&'a u8>,
    ) -> Result<(usize, bool), Violation> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            at += match self.state {
                State::Data => self.data(&input[at..], out),
                State::Trailers => self.trailer_lines(&input[at..])?,
                _ => {
                    self.framing_byte(input[at])?;
                    1
                }
            };
        }
        Ok((at, self.state == State::Done))
    }

    /// The trailers of a complete body, and the bytes that their spans point into.
    pub fn trailers(&self) -> (&[u8], &[Header]) {
        (&self.trailer_bytes, &self.trailers)
    }

    fn data<'a>(&mut self, input: &'a [u8], out: &mut impl Extend<&'a u8>) -> usize {
        let n = usize::try_from(self.left).map_or(input.len(), |left| left.min(input.len()));
        out.extend(&input[..n]);
        self.left -= n as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        n
    }

    fn framing_byte(&mut self, b: u8) -> Result<(), Violation> {
        self.state = match (self.state, b) {
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::SizeStart,
            (State::DataCr | State::DataLf, _) => return Err(Violation::ChunkEnd),
            (State::SizeEnd, b'\n') => self.chunk_start()?,
            (State::SizeEnd, _) => return Err(Violation::BareCr),
            (_, b'\n') => return Err(Violation::BareLf),
            (State::SizeStart, b'\r' | b';') => return Err(Violation::ChunkSize),
            (State::Extension(at), b'\r') if !at.may_end() => {
                return Err(Violation::ChunkExtension);
            }
            (_, b'\r') => State::SizeEnd,
            _ => self.size_line_byte(b)?,
        };
        Ok(())
    }

    fn size_line_byte(&mut self, b: u8) -> Result<State, Violation> {
        self.line += 1;
        if self.line > self.limits.line.saturating_sub(2) {
            return Err(Violation::LineTooLong);
        }
        let extended = match self.state {
            State::Extension(at) => Some(at.next(b).ok_or(Violation::ChunkExtension)?),
            _ if b == b';' => Some(Extension::Start),
            _ => None,
        };
        if extended.is_some() || self.line > SIZE_DIGITS {
            self.extensions += 1;
            if self.extensions > MAX_EXTENSIONS {
                return Err(Violation::ChunkExtensionsTooLarge);
            }
        }
        if let Some(at) = extended {
            return Ok(State::Extension(at));
        }
        let digit = (b as char).to_digit(16).ok_or(Violation::ChunkSize)?;
        self.left = self.left * 16 + u64::from(digit);
        if self.left > MAX_CHUNK {
            return Err(Violation::ChunkSize);
        }
        Ok(State::Size)
    }

    fn chunk_start(&mut self) -> Result<State, Violation> {
        self.line = 0;
        self.total += self.left;
        if self.total > self.limits.body {
            return Err(Violation::BodyTooLarge);
        }
        Ok(if self.left == 0 {
            State::Trailers
        } else {
            State::Data
        })
    }

    /// Takes input up to the end of a line, since bytes after the last line are not ours.
    fn trailer_lines(&mut self, input: &[u8]) -> Result<usize, Violation> {
        let n = input
            .iter()
            .position(|&b| b == b'\n')
            .map_or(input.len(), |lf| lf + 1);
        self.trailer_bytes.extend_from_slice(&input[..n]);
        let next = self.lines.next(&self.trailer_bytes, &self.limits);
        if let Some(line) = next.map_err(Violation::in_header)? {
            if line.is_empty() {
                self.state = State::Done;
                return Ok(n);
            }
            if self.head_len + self.lines.position() > self.limits.head {
                return Err(Violation::HeadTooLarge);
            }
            if self.head_fields + self.trailers.len() >= self.limits.fields {
                return Err(Violation::TooManyFields);
            }
            let trailer = parse_trailer(&self.trailer_bytes, line)?;
            if trailer.name.len() > MAX_NAME {
                return Err(Violation::HeadTooLarge);
            }
            self.trailers.push(trailer);
        }
        Ok(n)
    }
}

fn parse_trailer(buf: &[u8], line: super::line::Line) -> Result<Header, Violation> {
    let [name_end, value_start, value_end] =
        split_header(buf, line).map_err(|_| Violation::Trailer)?;
    let name = Span::new(line.start, name_end);
    let id = known_header(name.of(buf)).unwrap_or(UNKNOWN_HEADER);
    if FORBIDDEN_IDS.contains(&id) {
        return Err(Violation::ForbiddenTrailer);
    }
    Ok(Header {
        name,
        value: Span::new(value_start, value_end),
        id,
    })
}
