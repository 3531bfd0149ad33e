//! Counting answers in a stream of bytes, without keeping any of them.

use std::io;

/// Where in a stream of answers we are.
#[derive(Debug, Default)]
pub struct Counter {
    state: State,
    /// Part of a head or of a line that was cut by a read.
    cut: Vec<u8>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    #[default]
    Head,
    Body(usize),
    ChunkSize,
    /// With the CRLF behind it.
    Chunk(usize),
    LastLine,
    /// After a 101.
    Frame,
    FrameBody(usize),
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Counter {
    /// How many answers (WebSocket: messages) end in `bytes`. A 101 counts as one.
    pub fn feed(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.cut.is_empty() {
            let (used, ended) = self.count(bytes)?;
            self.cut.extend_from_slice(&bytes[used..]);
            return Ok(ended);
        }
        let mut all = std::mem::take(&mut self.cut);
        all.extend_from_slice(bytes);
        let (used, ended) = self.count(&all)?;
        all.drain(..used);
        self.cut = all;
        Ok(ended)
    }

    fn count(&mut self, bytes: &[u8]) -> io::Result<(usize, usize)> {
        let (mut at, mut ended) = (0, 0);
        while at < bytes.len() {
            let Some((used, next)) = self.step(&bytes[at..])? else {
                break;
            };
            at += used;
            ended +=
                usize::from(next == State::Head || next == State::Frame || next == State::Body(0));
            self.state = match next {
                State::Body(0) => State::Head,
                State::FrameBody(0) => State::Frame,
                other => other,
            };
        }
        Ok((at, ended))
    }

    /// The bytes used and what comes after them; `None` for want of bytes.
    fn step(&self, bytes: &[u8]) -> io::Result<Option<(usize, State)>> {
        Ok(match self.state {
            State::Head => match end_of_head(bytes) {
                Some(end) => Some((end, after_head(&bytes[..end])?)),
                None => None,
            },
            State::Body(left) => {
                let used = left.min(bytes.len());
                Some((used, State::Body(left - used)))
            }
            State::ChunkSize => match line(bytes) {
                Some(text) => Some((text.len() + 2, chunk(text)?)),
                None => None,
            },
            State::Chunk(left) => {
                let used = left.min(bytes.len());
                let next = if used == left {
                    State::ChunkSize
                } else {
                    State::Chunk(left - used)
                };
                Some((used, next))
            }
            State::LastLine => line(bytes).map(|text| (text.len() + 2, State::Head)),
            State::Frame => frame(bytes),
            State::FrameBody(left) => {
                let used = left.min(bytes.len());
                let next = if used == left {
                    State::Frame
                } else {
                    State::FrameBody(left - used)
                };
                Some((used, next))
            }
        })
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .map(|at| at + 4)
}

fn line(bytes: &[u8]) -> Option<&[u8]> {
    bytes
        .windows(2)
        .position(|w| w == b"\r\n")
        .map(|at| &bytes[..at])
}

fn chunk(text: &[u8]) -> io::Result<State> {
    let text = std::str::from_utf8(text).map_err(|_| bad("chunk size"))?;
    match usize::from_str_radix(text.trim(), 16) {
        Ok(0) => Ok(State::LastLine),
        Ok(size) => Ok(State::Chunk(size + 2)),
        Err(_) => Err(bad("chunk size")),
    }
}

fn after_head(head: &[u8]) -> io::Result<State> {
    if head.starts_with(b"HTTP/1.1 101 ") {
        return Ok(State::Frame);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(bad(&String::from_utf8_lossy(head)));
    }
    for field in head.split(|&b| b == b'\n') {
        if let Some(length) = value(field, b"content-length:") {
            let text = std::str::from_utf8(length).map_err(|_| bad("Content-Length"))?;
            let length = text.trim().parse().map_err(|_| bad("Content-Length"))?;
            return Ok(State::Body(length));
        }
        if value(field, b"transfer-encoding:").is_some() {
            return Ok(State::ChunkSize);
        }
    }
    Err(bad("an answer without a length"))
}

fn value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = field.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

/// A server's frame, which has no mask.
fn frame(bytes: &[u8]) -> Option<(usize, State)> {
    let (head, len) = match bytes.get(1)? {
        126 => (
            4,
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        ),
        127 => (
            10,
            u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize,
        ),
        &len => (2, usize::from(len)),
    };
    Some((
        head,
        if len == 0 {
            State::Frame
        } else {
            State::FrameBody(len)
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended_at_any_cut(stream: &[u8], expected: usize) {
        for size in 1..=stream.len() {
            let mut counter = Counter::default();
            let ended: usize = stream
                .chunks(size)
                .map(|piece| counter.feed(piece).unwrap())
                .sum();
            assert_eq!(ended, expected, "pieces of {size}");
        }
    }

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        ended_at_any_cut(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            2,
        );
        ended_at_any_cut(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\na\r\n0123456789\r\n0\r\n\r\n",
            1,
        );
    }

    #[test]
    fn a_handshake_and_frames_are_counted() {
        ended_at_any_cut(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi\x81\x00\x82\x7e\x00\x03abc",
            4,
        );
    }

    #[test]
    fn any_other_status_is_an_error() {
        let answer = b"HTTP/1.1 500 Internal Server Error\r\n\r\n";
        assert!(Counter::default().feed(answer).is_err());
    }
}
