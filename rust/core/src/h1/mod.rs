//! HTTP/1.1, server side, as functions of bytes: no sockets, no clock, no threads.
//!
//! Heads and trailers stay in the buffer they arrived in and are described by [`Span`]s; bodies are unframed into the
//! caller's buffer. Every decoder gives the same result for the same bytes, however they were split.
//!
//! Not here: when to read, when to respond, what follows from keep-alive (`server`), and responses as a client sees
//! them (`client`).

pub(crate) mod authority;
pub mod body;
pub mod date;
pub mod encoded;
pub mod head;
mod line;
mod names;
pub mod proxy;
pub mod response;

pub use crate::error::Violation;
use crate::grammar::MAX_HEAD;
pub use body::ChunkedDecoder;
pub use head::{BodyFraming, HeadParser, Header, RequestHead, Version};

/// A range of a buffer that is held elsewhere.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte.
    pub end: u32,
}

impl Span {
    /// Offsets are below the sum of two limits, each at most `i32::MAX`, so they fit.
    pub fn new(start: usize, end: usize) -> Span {
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes in `buf`; empty if `buf` is too short, and so not the buffer this was made for.
    pub fn of(self, buf: &[u8]) -> &[u8] {
        buf.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// How many bytes it has.
    pub fn len(self) -> usize {
        self.end.saturating_sub(self.start) as usize
    }

    /// Whether it has none, like the default.
    pub fn is_empty(self) -> bool {
        self.end <= self.start
    }
}

/// How much a peer may send before it is refused. In bytes, except `fields`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// A request, header or chunk-size line with its CRLF. Default 8192.
    pub line: usize,
    /// Request line, headers, blank line and trailers together. Default 65536;
    /// at least `line`, unless it was given.
    pub head: usize,
    /// Whether `head` was given, and does not follow `line`.
    pub head_given: bool,
    /// A request's body, without chunk framing. Default 8388608.
    pub body: u64,
    /// Header lines and trailers of a request. Default 1000; at most [`Limits::MOST_FIELDS`].
    pub fields: usize,
}

impl Limits {
    /// The limit on fields that always applies: after the parser their number has 16 bits, and a PROXY header adds
    /// some.
    pub const MOST_FIELDS: usize = 60_000;

    /// Limits for `:max-line` and `:max-body`.
    pub fn with_line(line: usize, body: u64) -> Limits {
        Limits {
            line,
            head: line,
            head_given: false,
            body,
            fields: 1000,
        }
        .with_max_line(line)
    }

    /// These limits, with `:max-line` as the limit on a line.
    pub fn with_max_line(self, line: usize) -> Limits {
        let head = match self.head_given {
            true => self.head,
            false => line.max(MAX_HEAD),
        };
        Limits { line, head, ..self }
    }

    /// These limits, with `:max-header-bytes` as the limit on a head; `None` removes it.
    pub fn with_head(self, head: Option<usize>) -> Limits {
        Limits {
            head: head.unwrap_or(i32::MAX as usize),
            head_given: true,
            ..self
        }
    }

    /// These limits, with `:max-headers` as the limit on the number of fields; `None` removes it.
    pub fn with_fields(self, fields: Option<usize>) -> Limits {
        let fields = fields.map_or(Limits::MOST_FIELDS, |n| n.min(Limits::MOST_FIELDS));
        Limits { fields, ..self }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::with_line(8192, 8 * 1024 * 1024)
    }
}
