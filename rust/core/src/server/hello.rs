//! How much of a client's hello has arrived, which begins a TLS handshake (RFC 8446, 4.1.2).

const CHANGE_CIPHER_SPEC: u8 = 0x14;
const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 1;
/// The kind of a message and its length.
const MESSAGE_HEAD: usize = 4;
const MAX_RECORD: usize = 0x4000;
/// What rustls accepts.
const MAX_MESSAGE: usize = 0xffff;
/// No client cuts its hello into more records.
const MAX_RECORDS: usize = 16;

/// What received records are.
#[derive(Debug, PartialEq, Eq)]
pub enum Hello {
    /// The beginning of a hello.
    Partial,
    /// A whole one, and perhaps more.
    Whole,
    /// Something else, or an oversized one.
    Other,
    /// One in more records than any client makes: the pieces of a hello must not bring it back to the loop.
    Crumbs,
}

impl Hello {
    /// `bytes` begin with a record's head.
    pub fn of(mut bytes: &[u8]) -> Self {
        let mut head = [0; MESSAGE_HEAD];
        let mut received = 0;
        for _ in 0..MAX_RECORDS {
            let [kind, major, _, high, low, rest @ ..] = bytes else {
                return Self::Partial;
            };
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let content = &rest[..len.min(rest.len())];
            match *kind {
                HANDSHAKE if *major == 3 && (1..=MAX_RECORD).contains(&len) => {}
                // Before the second hello, for the sake of middleboxes.
                CHANGE_CIPHER_SPEC if received == 0 && len == 1 => {
                    bytes = &rest[content.len()..];
                    continue;
                }
                _ => return Self::Other,
            }
            for (to, from) in head.iter_mut().skip(received).zip(content) {
                *to = *from;
            }
            received += content.len();
            if received > 0 && head[0] != CLIENT_HELLO {
                return Self::Other;
            }
            if received >= MESSAGE_HEAD {
                let announced = u32::from_be_bytes([0, head[1], head[2], head[3]]) as usize;
                if announced > MAX_MESSAGE {
                    return Self::Other;
                }
                if received >= MESSAGE_HEAD + announced {
                    return Self::Whole;
                }
            }
            if content.len() < len {
                return Self::Partial;
            }
            bytes = &rest[len..];
        }
        Self::Crumbs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello of `len` bytes in records of `piece` bytes.
    fn hello(len: usize, piece: usize) -> Vec<u8> {
        let mut message = vec![CLIENT_HELLO, 0, (len >> 8) as u8, len as u8];
        message.resize(MESSAGE_HEAD + len, 7);
        let record = |content: &[u8]| {
            let len = content.len();
            [&[HANDSHAKE, 3, 1, (len >> 8) as u8, len as u8], content].concat()
        };
        message.chunks(piece).flat_map(record).collect()
    }

    #[test]
    fn it_is_whole_with_its_last_byte_and_partial_before_however_it_is_cut() {
        for bytes in [
            hello(300, 16384),
            hello(300, 200),
            hello(20, 3),
            hello(0, 1),
        ] {
            for len in 0..bytes.len() {
                assert_eq!(Hello::of(&bytes[..len]), Hello::Partial, "{len}");
            }
            assert_eq!(Hello::of(&bytes), Hello::Whole);
            assert_eq!(Hello::of(&[&bytes, &b"more"[..]].concat()), Hello::Whole);
        }
    }

    #[test]
    fn a_second_hello_may_follow_a_change_of_ciphers() {
        let bytes = [&[CHANGE_CIPHER_SPEC, 3, 3, 0, 1, 1][..], &hello(100, 104)].concat();
        assert_eq!(Hello::of(&bytes[..bytes.len() - 1]), Hello::Partial);
        assert_eq!(Hello::of(&bytes), Hello::Whole);
    }

    #[test]
    fn other_records_are_none() {
        for bytes in [
            &[HANDSHAKE, 3, 3, 0, 4, 16][..],
            &[HANDSHAKE, 3, 3, 0, 0],
            &[HANDSHAKE, 3, 3, 0x40, 1],
            &[HANDSHAKE, 2, 3, 0, 4],
            &[0x17, 3, 3, 0, 4],
            &[0x15, 3, 3, 0, 2, 1, 0],
            &[CHANGE_CIPHER_SPEC, 3, 3, 0, 2, 1, 1],
            &[HANDSHAKE, 3, 3, 0, 4, 1, 1, 0, 0],
        ] {
            assert_eq!(Hello::of(bytes), Hello::Other, "{bytes:?}");
        }
        assert_eq!(Hello::of(&hello(100, 1)), Hello::Crumbs, "too many records");
    }
}
