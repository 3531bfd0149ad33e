//! Bytes, and parts of files and other sources, queued until a socket is writable.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::payload::{Kept, Payload, SharedBytes};
use super::tally;
use crate::net::is_lost;

/// Small writes are combined up to this size.
const GATHER: usize = 16 * 1024;
/// Room for small writes once there is one: several responses, or the rest of one.
const LEAST_TAIL: usize = 1024;
/// Small writes of so few bytes, once no more follow, keep no room.
const FEW: usize = 64;
/// Bytes of a file per call, since a read may block on the disk.
const FILE_STEP: u64 = 256 * 1024;
/// A peer that takes less than this in a long time may only be holding resources.
pub(crate) const LEAST_TAKEN: i64 = 1024;
/// Bytes of a [`Source`] copied per step.
const SOURCE_STEP: usize = 256 * 1024;
/// Bytes of files and sources after which a flush yields to other connections.
const TURN: usize = 1024 * 1024;

thread_local! {
    /// Where a [`Source`]'s next bytes are copied to.
    static COPY: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// The tail of a queue that this thread has written: the next one to queue something has room already.
    static TAIL: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What is to be written next.
#[derive(Debug)]
pub(crate) enum Chunk<'a> {
    Bytes(&'a [IoSlice<'a>]),
    /// A file, an offset, and how many bytes from there on.
    File(&'a File, u64, usize),
    /// No bytes yet: returns 0 if the socket may accept some.
    Probe,
}

/// Why writing failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The socket's fault, or the peer's.
    Socket,
    /// The content cannot be read, or has become shorter.
    Content(io::Error),
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    /// The owner is held twice: the second one counts who shares it.
    Shared(Bytes, Arc<Vec<u8>>),
    File {
        file: File,
        at: u64,
        left: u64,
    },
    Kept(Kept),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Shared(bytes, _) => bytes.len(),
            Self::File { left, .. } => usize::try_from(*left).unwrap_or(usize::MAX),
            Self::Kept(kept) => kept.len,
        }
    }

    fn in_memory(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Shared(bytes, owner) => bytes.len() / (Arc::strong_count(owner) / 2).max(1),
            Self::Kept(kept) if kept.source.is_native() => {
                kept.len / Arc::strong_count(&kept.source)
            }
            _ => 0,
        }
    }

    /// Drops the first `n` bytes, which are not all.
    fn advance(&mut self, n: usize) {
        match self {
            Self::Bytes(bytes) | Self::Shared(bytes, _) => bytes.advance(n),
            Self::File { at, left, .. } => {
                *at += n as u64;
                *left -= n as u64;
            }
            Self::Kept(kept) => {
                kept.at += n;
                kept.len -= n;
            }
        }
    }
}

/// Queue of bytes to be written, in order. Holds no allocation while empty.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Piece>,
    /// Small writes after `pieces`, combined.
    tail: Vec<u8>,
    len: usize,
    written: u64,
    /// Bytes of memory freed since the last [`Self::take_freed`].
    freed: u32,
    /// How often the queue has become empty.
    emptied: u32,
}

impl Output {
    /// How many bytes are queued.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many of them are in our own memory.
    pub(crate) fn in_memory(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        let pieces = self.pieces.iter().map(Piece::in_memory).sum::<usize>();
        pieces + self.tail.len()
    }

    /// How many bytes have been written.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// As [`Self::written`], plus [`LEAST_TAKEN`] each time the queue has become empty.
    pub(crate) fn progress(&self) -> u64 {
        self.written + u64::from(self.emptied) * LEAST_TAKEN.cast_unsigned()
    }

    /// This many bytes were written directly, without being queued.
    pub(crate) fn note_written(&mut self, n: usize) {
        tally::written(n);
        self.written += n as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        // The socket has mostly accepted everything: then there must be no room to keep, either.
        if bytes.is_empty() {
            return;
        }
        self.len += bytes.len();
        if self.tail.len() + bytes.len() > GATHER {
            self.seal();
        }
        if bytes.len() >= GATHER {
            let piece = Piece::Bytes(Bytes::copy_from_slice(bytes));
            self.pieces.push_back(piece);
        } else {
            // Behind a piece, often no more than the end of its chunk waits.
            if self.tail.capacity() == 0 && self.pieces.is_empty() {
                self.tail = TAIL.try_with(Cell::take).unwrap_or_default();
                self.tail.reserve(bytes.len().max(LEAST_TAIL));
            }
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Appends all but the first `skip` bytes of `payload`; shared ones are copied only if they are few.
    pub(crate) fn push_payload(&mut self, payload: Payload<'_>, skip: usize) {
        match payload {
            Payload::Shared(bytes) if bytes.len() - skip >= GATHER => {
                self.len += bytes.len() - skip;
                self.seal();
                let piece = Bytes::from_owner(SharedBytes(bytes.clone())).slice(skip..);
                self.pieces.push_back(Piece::Shared(piece, bytes));
            }
            few => self.push(&few[skip..]),
        }
    }

    /// Appends bytes that are copied when they are sent.
    pub(crate) fn push_kept(&mut self, kept: Kept) {
        self.len += kept.len;
        self.seal();
        self.pieces.push_back(Piece::Kept(kept));
    }

    /// Appends the `len` bytes of a file from `at` on, which are read when they are sent.
    pub(crate) fn push_file(&mut self, file: File, at: u64, len: u64) {
        self.len += usize::try_from(len).unwrap_or(usize::MAX);
        self.seal();
        let left = len;
        self.pieces.push_back(Piece::File { file, at, left });
    }

    fn is_file(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::File { .. }))
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let mut tail = std::mem::take(&mut self.tail);
            // The head of a frame or chunk: it waits as long as what it precedes, for every peer of a broadcast.
            if tail.len() <= FEW || tail.capacity() - tail.len() > LEAST_TAIL {
                tail.shrink_to_fit();
            }
            let piece = Piece::Bytes(Bytes::from(tail));
            self.pieces.push_back(piece);
        }
    }

    /// Drops everything queued.
    pub(crate) fn clear(&mut self) {
        let in_memory = self.pieces.iter().map(Piece::in_memory).sum::<usize>();
        self.note_freed(in_memory);
        let mut tail = std::mem::take(&mut self.tail);
        if (LEAST_TAIL..=GATHER).contains(&tail.capacity()) {
            tail.clear();
            // A thread that ends keeps none.
            let _ = TAIL.try_with(|kept| kept.set(tail));
        }
        *self = Self {
            written: self.written,
            freed: self.freed,
            emptied: self.emptied,
            ..Self::default()
        };
    }

    /// Bytes of memory freed since the last call.
    pub(crate) fn take_freed(&mut self) -> usize {
        std::mem::take(&mut self.freed) as usize
    }

    fn note_freed(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.freed = self.freed.saturating_add(bytes);
    }

    /// Writes until the queue is empty or `write` reports `WouldBlock`. True if it stopped only because files and
    /// sources have used up their turn.
    pub(crate) fn flush(
        &mut self,
        mut write: impl FnMut(Chunk<'_>) -> io::Result<usize>,
    ) -> Result<bool, Failure> {
        let mut of_turn = 0;
        while self.len > 0 && of_turn < TURN {
            let is_file = self.is_file();
            let in_memory = matches!(
                self.pieces.front(),
                None | Some(Piece::Bytes(_) | Piece::Shared(..))
            );
            match self.write_next(&mut write)? {
                Ok(0) if is_file => {
                    let short = io::Error::new(io::ErrorKind::UnexpectedEof, SHORT);
                    return Err(Failure::Content(short));
                }
                Ok(0) => return Err(Failure::Socket),
                Ok(written) => {
                    self.advance(written);
                    of_turn += if in_memory { 0 } else { written };
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.keep_less();
                        return Ok(false);
                    }
                    io::ErrorKind::Interrupted => {}
                    _ if is_file && !is_lost(&e) => return Err(Failure::Content(e)),
                    _ => return Err(Failure::Socket),
                },
            }
        }
        Ok(self.len > 0)
    }

    /// The rest waits for its peer, perhaps long: it takes little more memory than it has bytes.
    fn keep_less(&mut self) {
        let enough = self.tail.len().max(LEAST_TAIL);
        if self.tail.capacity() > 2 * enough {
            self.tail.shrink_to(enough);
        }
    }

    fn write_next(
        &self,
        write: &mut impl FnMut(Chunk<'_>) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Failure> {
        match self.pieces.front() {
            Some(Piece::File { file, at, left }) => {
                let count = FILE_STEP.min(*left) as usize;
                Ok(write(Chunk::File(file, *at, count)))
            }
            Some(Piece::Kept(kept)) => match write(Chunk::Probe) {
                Ok(_) => write_kept(kept, write),
                Err(e) => Ok(Err(e)),
            },
            _ => Ok(self.write_bytes(write)),
        }
    }

    fn write_bytes(
        &self,
        write: &mut impl FnMut(Chunk<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); 16];
        let mut count = 0;
        let bytes = self.pieces.iter().map_while(|piece| match piece {
            Piece::Bytes(bytes) | Piece::Shared(bytes, _) => Some(bytes.as_ref()),
            _ => None,
        });
        for piece in bytes.take(slices.len()) {
            slices[count] = IoSlice::new(piece);
            count += 1;
        }
        if count == self.pieces.len() && count < slices.len() && !self.tail.is_empty() {
            slices[count] = IoSlice::new(&self.tail);
            count += 1;
        }
        write(Chunk::Bytes(&slices[..count]))
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        self.note_written(written);
        while let Some(piece) = self.pieces.front_mut() {
            let size = piece.len();
            if size > written {
                return piece.advance(written);
            }
            written -= size;
            let in_memory = piece.in_memory();
            self.pieces.pop_front();
            self.note_freed(in_memory);
        }
        self.tail.drain(..written);
        if self.len == 0 {
            self.clear();
            self.emptied = self.emptied.saturating_add(1);
        }
    }
}

/// Writes each copied step of a source until the socket accepts no more, because the rest must be copied again.
fn write_kept(
    kept: &Kept,
    write: &mut impl FnMut(Chunk<'_>) -> io::Result<usize>,
) -> Result<io::Result<usize>, Failure> {
    COPY.with_borrow_mut(|copy| {
        let count = SOURCE_STEP.min(kept.len);
        if copy.len() < count {
            // Never more than a step, as it would be if the vector doubled.
            let size = count.next_power_of_two();
            copy.reserve_exact(size - copy.len());
            copy.resize(size, 0);
        }
        let copy = &mut copy[..count];
        kept.source.copy(kept.at, copy).map_err(Failure::Content)?;
        let mut written = 0;
        while written < count {
            match write(Chunk::Bytes(&[IoSlice::new(&copy[written..])])) {
                Ok(0) => break,
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if written > 0 => break,
                Err(e) => return Ok(Err(e)),
            }
        }
        Ok(Ok(written))
    })
}

const SHORT: &str = "a file became shorter while it was being sent";

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
