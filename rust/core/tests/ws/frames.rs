//! What a client may send, right and wrong, and how it is fed to a decoder.

use httpkit_core::ws::{Decoder, Event, Fault};

pub const MAX: u64 = 4 * 1024 * 1024;

/// One frame as a client writes it. Every field can be made wrong.
#[derive(Debug, Clone)]
pub struct Frame {
    pub last: bool,
    /// 4 = RSV1, 2 = RSV2, 1 = RSV3.
    pub reserved: u8,
    pub opcode: u8,
    pub mask: Option<[u8; 4]>,
    pub payload: Vec<u8>,
}

pub fn frame(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    let payload = payload.as_ref().to_vec();
    Frame {
        last: true,
        reserved: 0,
        opcode,
        mask: Some([0x37, 0xfa, 0x21, 0x3d]),
        payload,
    }
}

/// A frame that more will follow.
pub fn part(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
    Frame {
        last: false,
        ..frame(opcode, payload)
    }
}

pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
    frame(8, [&code.to_be_bytes(), reason.as_ref()].concat())
}

impl Frame {
    pub fn bytes(&self) -> Vec<u8> {
        let size = match self.payload.len() {
            n @ 0..126 => vec![n as u8],
            n @ 126..65536 => [&[126], &(n as u16).to_be_bytes()[..]].concat(),
            n => [&[127], &(n as u64).to_be_bytes()[..]].concat(),
        };
        self.bytes_announcing(&size)
    }

    /// With these bytes for the length, which need not be the right ones.
    pub fn bytes_announcing(&self, size: &[u8]) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.last) << 7 | self.reserved << 4 | self.opcode];
        bytes.extend_from_slice(size);
        let Some(mask) = self.mask else {
            bytes.extend_from_slice(&self.payload);
            return bytes;
        };
        bytes[1] |= 0x80;
        bytes.extend_from_slice(&mask);
        bytes.extend(
            self.payload
                .iter()
                .enumerate()
                .map(|(i, b)| b ^ mask[i % 4]),
        );
        bytes
    }
}

pub fn bytes(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(Frame::bytes).collect()
}

/// What came out, and what ended it.
pub type Outcome = (Vec<Event>, Option<Fault>);

/// Feeds the pieces one after the other, as reads from a socket would.
pub fn decode<'a>(max: u64, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = Decoder::new(max);
    let mut events = Vec::new();
    for mut rest in pieces {
        loop {
            match decoder.decode(rest) {
                Ok((used, Some(event))) => {
                    events.push(event);
                    rest = &rest[used..];
                }
                Ok((used, None)) => {
                    assert_eq!(used, rest.len(), "no event, so all input is used");
                    break;
                }
                Err(fault) => return (events, Some(fault)),
            }
        }
    }
    (events, None)
}

pub fn text(s: &str) -> Event {
    Event::Text(s.into())
}

pub fn binary(bytes: impl AsRef<[u8]>) -> Event {
    Event::Binary(bytes.as_ref().to_vec())
}
