//! Bytes that wait for a socket to become writable.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};

/// Small writes are gathered up to this size before they become a piece of their own.
const GATHER: usize = 16 * 1024;

/// Queue of bytes to be written, in order. Holds no allocation while empty.
#[derive(Debug, Default)]
pub(crate) struct Output {
    pieces: VecDeque<Bytes>,
    /// Small writes after `pieces`, gathered.
    tail: Vec<u8>,
    len: usize,
}

impl Output {
    pub(crate) fn len(&self) -> usize {
        self.len
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
            self.pieces.push_back(Bytes::copy_from_slice(bytes));
        } else {
            self.tail.extend_from_slice(bytes);
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces
                .push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes until all is out or `write` reports `WouldBlock`, which is not an error here.
    pub(crate) fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<()> {
        while self.len > 0 {
            let mut slices = [IoSlice::new(&[]); 16];
            let mut count = 0;
            let tail = std::iter::once(self.tail.as_slice()).filter(|tail| !tail.is_empty());
            for piece in self
                .pieces
                .iter()
                .map(AsRef::as_ref)
                .chain(tail)
                .take(slices.len())
            {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
            match write(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.advance(written),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > written {
                piece.advance(written);
                return;
            }
            written -= piece.len();
            self.pieces.pop_front();
        }
        self.tail.drain(..written);
        if self.len == 0 {
            self.clear();
        }
    }
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
            let write = |slices: &[IoSlice<'_>]| {
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
        let write = |_: &[IoSlice<'_>]| {
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
