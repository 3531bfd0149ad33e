//! A request body that user code reads while it arrives, as a value.
//!
//! Received bytes are queued here for the reader. At [`Config::body_window`](super::Config::body_window) of them, the
//! socket is not read, so a slow reader slows its sender down. A reader that finds none gets [`Read::Later`], and
//! [`Sink::on_body`](super::Sink::on_body) tells it when to continue. A body that the response did not wait for is
//! dropped as it arrives, or ends the connection.
//!
//! Not here: what it means for a connection (`reading.rs`).

use std::collections::VecDeque;

use super::reader::READ;
use crate::error::Violation;
use crate::h1::{ChunkedDecoder, Header};

/// An unread body keeps its connection if at most this much of it is still to come.
const MOST_DROPPED: u64 = 64 * 1024;

/// The outcome of reading a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// The number of bytes that were read, at least one.
    Data(usize),
    /// Nothing has arrived since the last read. [`Sink::on_body`](super::Sink::on_body) follows, once.
    Later,
    /// All of the body has been read.
    End,
    /// No more of it will come.
    Failed(BodyFault),
}

/// Why a body cannot be read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// The peer ended its side, or the connection was lost.
    Early,
    /// The chunks break a rule, or the body is larger than allowed.
    Broken(Violation),
    /// Too little of it arrived in [`Times::body`](super::Times::body) while a reader waited.
    TimedOut,
    /// The response is complete.
    Over,
}

/// The part of a body that has not arrived yet.
#[derive(Debug)]
pub(super) enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
}

impl Rest {
    /// Appends the body bytes of `bytes` to `out`; returns how many of `bytes` were used, and whether the body is
    /// complete.
    pub(super) fn decode<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut impl Extend<&'a u8>,
    ) -> Result<(usize, bool), Violation> {
        match self {
            Self::Length(left) => {
                let used = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend(&bytes[..used]);
                *left -= used as u64;
                Ok((used, *left == 0))
            }
            Self::Chunked(decoder) => decoder.decode(bytes, out),
        }
    }
}

/// Takes bytes and keeps none.
struct Dropped;

impl<'a> Extend<&'a u8> for Dropped {
    fn extend<I: IntoIterator<Item = &'a u8>>(&mut self, _: I) {}
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Arrival {
    Going,
    Complete,
    Failed(BodyFault),
    /// The response is complete: bytes that still arrive are dropped.
    Unwanted,
}

/// A body whose request was handed over before all of it had arrived.
#[derive(Debug)]
pub(super) struct Stream {
    rest: Rest,
    waiting: VecDeque<u8>,
    arrival: Arrival,
    /// A reader got [`Read::Later`].
    pub(super) awaited: bool,
    /// When its reader last read, or was told to go on, by the server's clock. Until it waits, the handler's time
    /// counts from then.
    pub(super) since: u32,
    /// Bytes received since they last counted as progress.
    pub(super) recent: usize,
    /// The peer does not wait for `100 Continue`.
    pub(super) continued: bool,
}

impl Stream {
    pub(super) fn new(rest: Rest, complete: bool, continued: bool) -> Self {
        Self {
            rest,
            waiting: VecDeque::new(),
            arrival: if complete {
                Arrival::Complete
            } else {
                Arrival::Going
            },
            awaited: false,
            since: 0,
            recent: 0,
            continued,
        }
    }

    /// Whether more of it may be on its way.
    pub(super) fn is_arriving(&self) -> bool {
        matches!(self.arrival, Arrival::Going | Arrival::Unwanted)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.arrival == Arrival::Complete
    }

    /// Bytes queued for the reader.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether the socket should not be read.
    pub(super) fn is_full(&self, window: usize) -> bool {
        self.waiting.len() >= window
    }

    /// Whether the connection must end with the response if no more of the body is read: too much of it is still to
    /// come, or the peer may never send it, because it was not asked to.
    pub(super) fn ends_connection(&self) -> bool {
        match (&self.arrival, &self.rest) {
            (Arrival::Complete, _) => false,
            (Arrival::Failed(_), _) | (_, Rest::Chunked(_)) => true,
            (_, Rest::Length(left)) => *left > MOST_DROPPED || !self.continued,
        }
    }

    /// Takes received bytes; returns how many belong to the body.
    pub(super) fn receive(&mut self, bytes: &[u8], window: usize) -> Result<usize, Violation> {
        self.continued = true;
        let decoded = match self.arrival {
            Arrival::Going => {
                self.make_room(bytes.len(), window);
                self.rest.decode(bytes, &mut self.waiting)
            }
            _ => self.rest.decode(bytes, &mut Dropped),
        };
        match decoded {
            Ok((used, done)) => {
                if done {
                    self.arrival = Arrival::Complete;
                }
                Ok(used)
            }
            Err(violation) => {
                self.arrival = Arrival::Failed(BodyFault::Broken(violation));
                Err(violation)
            }
        }
    }

    /// Doubling would take up to twice the window.
    fn make_room(&mut self, more: usize, window: usize) {
        let needed = self.waiting.len() + more;
        if needed > self.waiting.capacity() {
            let most = window.saturating_add(READ);
            let size = (self.waiting.capacity() * 2).min(most).max(needed);
            self.waiting.reserve_exact(size - self.waiting.len());
        }
    }

    pub(super) fn read(&mut self, into: &mut [u8]) -> Read {
        if !self.waiting.is_empty() {
            let (first, second) = self.waiting.as_slices();
            let of_first = first.len().min(into.len());
            let of_second = second.len().min(into.len() - of_first);
            into[..of_first].copy_from_slice(&first[..of_first]);
            into[of_first..of_first + of_second].copy_from_slice(&second[..of_second]);
            self.waiting.drain(..of_first + of_second);
            return Read::Data(of_first + of_second);
        }
        match self.arrival {
            Arrival::Going => {
                // A sender that stalls costs no buffer.
                self.waiting = VecDeque::new();
                self.awaited = true;
                Read::Later
            }
            Arrival::Complete => Read::End,
            Arrival::Failed(fault) => Read::Failed(fault),
            Arrival::Unwanted => Read::Failed(BodyFault::Over),
        }
    }

    /// No more of it will come, for this reason, unless the response was complete before.
    pub(super) fn fail(&mut self, why: BodyFault) {
        match self.arrival {
            Arrival::Going => self.arrival = Arrival::Failed(why),
            Arrival::Unwanted => self.arrival = Arrival::Failed(BodyFault::Over),
            _ => {}
        }
    }

    /// The trailers of a complete body.
    pub(super) fn trailers(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (Arrival::Complete, Rest::Chunked(decoder)) = (self.arrival, &self.rest) else {
            return Vec::new();
        };
        let (text, fields) = decoder.trailers();
        let pair = |field: &Header| {
            let name = field.name.of(text).to_ascii_lowercase();
            (name, field.value.of(text).to_vec())
        };
        fields.iter().map(pair).collect()
    }

    /// Why no more of it will come.
    pub(super) fn fault(&self) -> Option<BodyFault> {
        match self.arrival {
            Arrival::Failed(fault) => Some(fault),
            _ => None,
        }
    }

    /// Whether the response did not wait for it.
    pub(super) fn is_unwanted(&self) -> bool {
        self.arrival == Arrival::Unwanted
    }

    /// Discards the rest of it. Returns how much memory that frees.
    pub(super) fn leave(&mut self) -> usize {
        self.arrival = Arrival::Unwanted;
        std::mem::take(&mut self.waiting).capacity()
    }
}
