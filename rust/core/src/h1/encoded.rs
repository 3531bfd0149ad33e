//! The head of a response that an embedder has encoded: what the connection needs to know about it.
//!
//! It is sent as it is, except that it gets `Connection: Close` where the server has reasons of its own to end the
//! connection. One pass finds where it ends, whether it tells the peer where the body ends, and whether the connection
//! is kept.

use super::head::has_token;

/// What the head of an encoded response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHead {
    /// Bytes up to and including the empty line.
    pub len: usize,
    /// Of its status line.
    pub status: u16,
    /// `Connection` has `close`.
    pub close: bool,
    /// `Connection` has `keep-alive`.
    pub keep_alive: bool,
    /// There is a `Connection`.
    pub connection: bool,
    framing: Framing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
    /// More than one of them, or one that cannot be read.
    Unclear,
}

impl EncodedHead {
    /// `None` unless `bytes` begin with a status line and contain the whole head.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let len = 4 + bytes.windows(4).position(|end| end == b"\r\n\r\n")?;
        let mut lines = bytes[..len - 4].split(|&b| b == b'\n');
        let mut head = Self {
            len,
            status: status(lines.next()?)?,
            close: false,
            keep_alive: false,
            connection: false,
            framing: Framing::None,
        };
        for line in lines {
            let colon = line.iter().position(|&b| b == b':')?;
            head.field(&line[..colon], line[colon + 1..].trim_ascii());
        }
        Some(head)
    }

    fn field(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"connection") {
            self.connection = true;
            self.close |= has_token(value, b"close");
            self.keep_alive |= has_token(value, b"keep-alive");
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|n| n.parse().ok());
            self.frame(length.map_or(Framing::Unclear, Framing::Length));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            let chunked = value.eq_ignore_ascii_case(b"chunked");
            self.frame(if chunked {
                Framing::Chunked
            } else {
                Framing::Unclear
            });
        }
    }

    fn frame(&mut self, framing: Framing) {
        self.framing = match self.framing {
            Framing::None => framing,
            _ => Framing::Unclear,
        };
    }

    /// Whether a peer that gets `body` bytes after the head can tell that the body is complete.
    pub fn delimits(&self, body: u64) -> bool {
        match self.framing {
            Framing::Length(length) => length == body,
            Framing::Chunked => true,
            Framing::None | Framing::Unclear => false,
        }
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let digits = std::str::from_utf8(rest.get(2..5)?).ok()?;
    digits
        .parse()
        .ok()
        .filter(|status| (100..=999).contains(status))
}
