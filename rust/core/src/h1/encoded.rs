//! The head of an answer that an embedder has encoded itself: what the connection must know of it.
//!
//! It is sent as it is. One pass says where it ends, and whether the peer can
//! tell from it where the body ends and whether the connection goes on.

use super::head::has_token;

/// What an encoded answer says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodedHead {
    /// Bytes up to and with the empty line.
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
    /// `None` unless `bytes` begin with a status line and hold the whole head.
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

    /// Whether a peer that gets `body` bytes after the head knows that they are all.
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
