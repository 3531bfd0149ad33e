//! Bytes, and parts of files, that wait for a socket to become writable.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

/// Small writes are gathered up to this size before they become a piece of their own.
const GATHER: usize = 16 * 1024;
/// So much of a file is sent in one go: reading it may have to wait for a disk.
const FILE_STEP: u64 = 256 * 1024;
/// A peer that takes less than this in a long time may be there to hold resources.
pub(crate) const LEAST_TAKEN: i64 = 1024;
/// After so much of a file other connections get their turn.
const FILE_TURN: usize = 1024 * 1024;

/// What is to be written next.
#[derive(Debug)]
pub(crate) enum Chunk<'a> {
    Bytes(&'a [IoSlice<'a>]),
    /// So many bytes of a file from there on.
    File(&'a File, u64, usize),
}

/// Why writing failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The socket's fault, or the peer's.
    Socket,
    /// The file cannot be read, or not to where it ended before.
    File(io::Error),
}

#[derive(Debug)]
enum Piece {
    Bytes(Bytes),
    File { file: File, at: u64, left: u64 },
}

/// Queue of bytes to be written, in order. Holds no allocation while empty.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Piece>,
    /// Small writes after `pieces`, gathered.
    tail: Vec<u8>,
    len: usize,
    written: u64,
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Grows by the bytes that are written. That all is written counts for [`LEAST_TAKEN`] more.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    /// So many bytes were written that did not have to wait.
    pub(crate) fn note_written(&mut self, n: usize) {
        self.written += n as u64;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a copy.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.len += bytes.len();
        if self.tail.len() + bytes.len() > GATHER {
            self.seal();
        }
        if bytes.len() >= GATHER {
            let piece = Piece::Bytes(Bytes::copy_from_slice(bytes));
            self.pieces.push_back(piece);
        } else {
            self.tail.extend_from_slice(bytes);
        }
    }

    /// Appends the first `len` bytes of a file, which are read when they are sent.
    pub(crate) fn push_file(&mut self, file: File, len: u64) {
        self.len += usize::try_from(len).unwrap_or(usize::MAX);
        self.seal();
        let (at, left) = (0, len);
        self.pieces.push_back(Piece::File { file, at, left });
    }

    /// Whether a part of a file is next.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.pieces.front(), Some(Piece::File { .. }))
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            let piece = Piece::Bytes(Bytes::from(std::mem::take(&mut self.tail)));
            self.pieces.push_back(piece);
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            written: self.written,
            ..Self::default()
        };
    }

    /// Writes until all is out, `write` reports `WouldBlock`, or a file has had its turn: then true.
    pub(crate) fn flush(
        &mut self,
        mut write: impl FnMut(Chunk<'_>) -> io::Result<usize>,
    ) -> Result<bool, Failure> {
        let mut of_files = 0;
        while self.len > 0 && of_files < FILE_TURN {
            let is_file = self.is_file();
            match self.write_next(&mut write) {
                Ok(0) if is_file => {
                    let short = io::Error::new(io::ErrorKind::UnexpectedEof, SHORT);
                    return Err(Failure::File(short));
                }
                Ok(0) => return Err(Failure::Socket),
                Ok(written) => {
                    self.advance(written);
                    of_files += if is_file { written } else { 0 };
                }
                Err(e) => match e.kind() {
                    io::ErrorKind::WouldBlock => return Ok(false),
                    io::ErrorKind::Interrupted => {}
                    _ if is_file && !is_peers_fault(&e) => return Err(Failure::File(e)),
                    _ => return Err(Failure::Socket),
                },
            }
        }
        Ok(self.len > 0)
    }

    fn write_next(
        &self,
        write: &mut impl FnMut(Chunk<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        if let Some(Piece::File { file, at, left }) = self.pieces.front() {
            return write(Chunk::File(file, *at, FILE_STEP.min(*left) as usize));
        }
        let mut slices = [IoSlice::new(&[]); 16];
        let mut count = 0;
        let bytes = self.pieces.iter().map_while(|piece| match piece {
            Piece::Bytes(bytes) => Some(bytes.as_ref()),
            Piece::File { .. } => None,
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
            let size = match piece {
                Piece::Bytes(bytes) => bytes.len(),
                Piece::File { left, .. } => usize::try_from(*left).unwrap_or(usize::MAX),
            };
            if size > written {
                match piece {
                    Piece::Bytes(bytes) => bytes.advance(written),
                    Piece::File { at, left, .. } => {
                        *at += written as u64;
                        *left -= written as u64;
                    }
                }
                return;
            }
            written -= size;
            self.pieces.pop_front();
        }
        self.tail.drain(..written);
        if self.len == 0 {
            self.clear();
            self.written += LEAST_TAKEN.cast_unsigned();
        }
    }
}

const SHORT: &str = "a file became shorter while it was sent";

fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(
        error.kind(),
        BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_order_however_little_each_write_takes() {
        for step in [1, 3, 7, 1000, 100_000] {
            let mut output = Output::default();
            let mut expected = Vec::new();
            for (i, size) in [5, 0, 20_000, 17, 16_384, 1, 2_000].into_iter().enumerate() {
                let bytes = vec![i as u8; size];
                expected.extend_from_slice(&bytes);
                output.push(&bytes);
            }
            assert_eq!(output.len(), expected.len());
            let mut got = Vec::new();
            let write = |chunk: Chunk<'_>| {
                let Chunk::Bytes(slices) = chunk else {
                    panic!("no file was given");
                };
                let mut left = step;
                for slice in slices {
                    let n = slice.len().min(left);
                    got.extend_from_slice(&slice[..n]);
                    left -= n;
                }
                Ok(step - left)
            };
            output.flush(write).unwrap();
            assert_eq!(got, expected, "writes of {step}");
            assert!(output.is_empty());
        }
    }

    #[test]
    fn a_full_socket_keeps_the_rest() {
        let mut output = Output::default();
        output.push(b"abc");
        let mut calls = 0;
        let write = |_: Chunk<'_>| {
            calls += 1;
            if calls == 1 {
                Ok(1)
            } else {
                Err(io::ErrorKind::WouldBlock.into())
            }
        };
        output.flush(write).unwrap();
        assert_eq!(output.len(), 2);
    }
}
