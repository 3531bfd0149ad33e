//! Frames: opcodes, headers in and out, masking (RFC 6455 5.2, 5.3).

use super::Fault;
use std::io::Cursor;
use tungstenite::protocol::frame::{FrameHeader, coding::OpCode};

/// Payload bytes of a control frame (RFC 6455 5.5).
pub const MAX_CONTROL: usize = 125;

/// Longest header of a masked frame: two bytes, 64 bit length, mask.
const MAX_HEADER: usize = 14;

/// The type of a frame; the numbers are those on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Further part of a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// Starts or completes the closing handshake.
    Close = 8,
    /// Asks for a pong with the same payload.
    Ping = 9,
    /// Response to a ping, or unsolicited.
    Pong = 10,
}

impl Opcode {
    /// The opcode with that number, `None` for reserved ones.
    pub const fn from_u8(number: u8) -> Option<Self> {
        Some(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Close, ping and pong: short, never fragmented, allowed inside a message.
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }
}

/// Header of an unmasked final frame: the first `n` of the bytes returned.
///
/// For writers that send header and payload in one vectored write.
pub fn header(opcode: Opcode, len: u64) -> ([u8; 10], usize) {
    debug_assert!(!opcode.is_control() || len <= MAX_CONTROL as u64);
    let frame = FrameHeader {
        opcode: OpCode::from(opcode as u8),
        ..FrameHeader::default()
    };
    let mut bytes = [0; 10];
    frame
        .format(len, &mut bytes.as_mut_slice())
        .expect("10 bytes hold every unmasked header");
    (bytes, frame.len(len))
}

/// Appends one unmasked final frame to `out`.
///
/// A control payload over [`MAX_CONTROL`] bytes is the caller's mistake: check before.
pub fn encode(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let (bytes, n) = header(opcode, payload.len() as u64);
    out.reserve(n + payload.len());
    out.extend_from_slice(&bytes[..n]);
    out.extend_from_slice(payload);
}

/// Header of a frame from a client, with all checks that a single frame allows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub opcode: Opcode,
    pub last: bool,
    pub mask: Mask,
    pub len: u64,
}

impl Head {
    /// Reads a header at the start of `bytes`, with its size; `None` if it is incomplete.
    fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        let mut cursor = Cursor::new(bytes);
        let parsed = FrameHeader::parse(&mut cursor).map_err(|e| Fault::protocol(e.to_string()))?;
        let Some((frame, len)) = parsed else {
            return Ok(None);
        };
        let size = cursor.position() as usize;
        Ok(Some((Head::checked(&frame, len, size)?, size)))
    }

    /// RFC 6455 5.1, 5.2, 5.5. Reserved opcodes are refused by tungstenite's parser.
    fn checked(frame: &FrameHeader, len: u64, size: usize) -> Result<Head, Fault> {
        let number = u8::from(frame.opcode);
        let Some(opcode) = Opcode::from_u8(number) else {
            return Err(Fault::protocol(format!("opcode {number}")));
        };
        if frame.rsv1 || frame.rsv2 || frame.rsv3 {
            return Err(Fault::protocol("reserved bit set, no extension negotiated"));
        }
        let Some(mask) = frame.mask else {
            return Err(Fault::protocol("frame not masked"));
        };
        if len > i64::MAX as u64 || size != frame.len(len) {
            return Err(Fault::protocol(format!(
                "length {len} in {} bytes",
                size - 6
            )));
        }
        if opcode.is_control() && !frame.is_final {
            return Err(Fault::protocol(format!("fragmented {opcode:?}")));
        }
        if opcode.is_control() && len > MAX_CONTROL as u64 {
            return Err(Fault::protocol(format!("{opcode:?} of {len} bytes")));
        }
        Ok(Head {
            opcode,
            last: frame.is_final,
            mask: Mask(mask),
            len,
        })
    }
}

/// The bytes of a header so far, kept here so that a connection that stops in the middle of a header needs no read
/// buffer.
#[derive(Debug, Default)]
pub(super) struct HeadParser {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl HeadParser {
    /// Continues with `input`: returns the header and how much of `input` it took, or `None` if all of `input` was
    /// taken and more is needed.
    pub(super) fn parse(&mut self, input: &[u8]) -> Result<Option<(Head, usize)>, Fault> {
        let before = usize::from(self.len);
        let parsed = if before == 0 {
            Head::parse(input)?
        } else {
            let filled = self.fill(input);
            Head::parse(&self.bytes[..filled])?
        };
        match parsed {
            Some(_) => self.len = 0,
            // Less than a header, so it fits.
            None => self.len = self.fill(input) as u8,
        }
        Ok(parsed.map(|(head, size)| (head, size - before)))
    }

    /// Appends `input` to the bytes taken before, as far as it fits; returns their new number.
    fn fill(&mut self, input: &[u8]) -> usize {
        let before = usize::from(self.len);
        let n = input.len().min(MAX_HEADER - before);
        self.bytes[before..before + n].copy_from_slice(&input[..n]);
        before + n
    }
}

/// Masking key, rotated so that its first byte applies to the next byte of payload.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mask(pub [u8; 4]);

impl Mask {
    /// Appends `masked`, unmasked, to `out`, and rotates the key.
    pub(super) fn append(&mut self, out: &mut Vec<u8>, masked: &[u8]) {
        let start = out.len();
        out.extend_from_slice(masked);
        self.apply(&mut out[start..]);
        self.0.rotate_left(masked.len() % 4);
    }

    /// Eight bytes at a time, which the compiler turns into vector instructions.
    fn apply(self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut::<8>();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, key) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= key;
        }
    }
}
