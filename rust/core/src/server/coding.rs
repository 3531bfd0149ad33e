//! The gzip coding of responses: whole bodies, and streams of which each piece can be decoded as it arrives.
//!
//! A compressor takes 230 to 380 KB, so a stream has none between its pieces. It keeps the end of its plain text, to
//! which the next piece may refer, and the few compressors of `deflate` go on from there. To the peer that is one
//! deflate stream. Time is spent on the sender's thread, without a connection's lock.

use std::sync::Arc;

use flate2::Crc;

use super::deflate::{self, History, LAST_BLOCK};
use super::types::Gzip;

/// No extra fields, no time, unknown system.
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

impl Gzip {
    /// A whole body, coded.
    pub fn whole(self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() / 3 + 64);
        out.extend_from_slice(HEADER);
        deflate::whole(self.level, body, &mut out);
        let mut sum = Crc::new();
        sum.update(body);
        put_trailer(&sum, &mut out);
        out
    }
}

/// A coded stream between two pieces.
#[derive(Debug)]
pub(super) struct Coder {
    how: Gzip,
    history: History,
    sum: Crc,
    begun: bool,
}

impl Coder {
    pub(super) fn new(how: Gzip) -> Self {
        Self {
            how,
            history: History::default(),
            sum: Crc::new(),
            begun: false,
        }
    }

    /// A coded piece, which can be decoded as soon as it arrives; empty for an empty one. Streams share it.
    pub(super) fn coded(&mut self, text: &[u8]) -> Arc<Vec<u8>> {
        self.piece(self.how, text)
    }

    /// As [`Self::coded`], for a few bytes and without a compressor.
    pub(super) fn short(&mut self, text: &[u8]) -> Arc<Vec<u8>> {
        let plain = Gzip {
            level: 0,
            ..self.how
        };
        self.piece(plain, text)
    }

    fn piece(&mut self, how: Gzip, text: &[u8]) -> Arc<Vec<u8>> {
        if text.is_empty() {
            return Arc::default();
        }
        let (coded, after) = deflate::piece(how, &self.history, text);
        self.history = after;
        self.sum.update(text);
        match self.begin() {
            [] => coded,
            header => Arc::new([header, &coded].concat()),
        }
    }

    /// The end of the stream.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut out = [self.begin(), LAST_BLOCK].concat();
        put_trailer(&self.sum, &mut out);
        out
    }

    fn begin(&mut self) -> &'static [u8] {
        match std::mem::replace(&mut self.begun, true) {
            true => &[],
            false => HEADER,
        }
    }
}

fn put_trailer(sum: &Crc, out: &mut Vec<u8>) {
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&sum.amount().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use flate2::{Decompress, FlushDecompress};
    use parking_lot::RwLock;

    use super::*;
    use crate::server::deflate::store;
    use crate::server::types::{GZIP_LEVEL, GZIP_WINDOW};

    /// Most bytes of a stored block.
    const STORED: usize = 0xffff;

    fn events(n: usize) -> Vec<Vec<u8>> {
        (0..n)
            .map(|i| {
                let price = i * 7919 % 1000;
                format!(
                    "id: {i}\ndata: {{\"symbol\":\"ABC\",\"price\":{price},\"time\":{i}17}}\n\n"
                )
            })
            .map(String::into_bytes)
            .collect()
    }

    /// Bytes without patterns.
    fn noise(n: usize) -> Vec<u8> {
        let mut x = 0x2545_f491_4f6c_dd1d_u64;
        let step = |_| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x as u8
        };
        (0..n).map(step).collect()
    }

    /// Held for writing by tests that assert what streams share: others would push it out of memory.
    static SHARED: RwLock<()> = RwLock::new(());

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
        text
    }

    #[test]
    fn whole_bodies_of_any_size_come_back_at_every_level() {
        for level in 1..=9 {
            for n in [0, 1, 100, 2_000, 70_000, 300_000] {
                for body in [noise(n), b"abcdefgh\n".repeat(n / 9)] {
                    let how = Gzip {
                        level,
                        window_bits: 15,
                    };
                    assert_eq!(decoded(&how.whole(&body)), body, "level {level}, {n}");
                }
            }
        }
    }

    #[test]
    fn every_piece_of_a_stream_can_be_decoded_before_the_next_one_is_made() {
        let _others = SHARED.read();
        for level in 1..=9 {
            for window_bits in [9, 13, 15] {
                let mut coder = Coder::new(Gzip { level, window_bits });
                let mut peer = Decompress::new_gzip(15);
                let mut pieces = events(300);
                pieces.extend([noise(50_000), b"x".repeat(100_000), Vec::new(), noise(1)]);
                pieces.extend(events(20));
                let (mut all, mut text) = (Vec::new(), Vec::new());
                for (n, piece) in pieces.iter().enumerate() {
                    let mut coded = Vec::new();
                    if n % 7 == 3 {
                        coded.extend_from_slice(&coder.short(b":\n\n"));
                        text.extend_from_slice(b":\n\n");
                    }
                    coded.extend_from_slice(&coder.coded(piece));
                    text.extend_from_slice(piece);
                    let mut out = vec![0; piece.len() + 10];
                    let before = (peer.total_in(), peer.total_out());
                    peer.decompress(&coded, &mut out, FlushDecompress::Sync)
                        .unwrap();
                    assert_eq!(peer.total_in() - before.0, coded.len() as u64);
                    let got = (peer.total_out() - before.1) as usize;
                    assert!(text.ends_with(&out[..got]) && peer.total_out() == text.len() as u64);
                    all.extend_from_slice(&coded);
                }
                all.extend_from_slice(&coder.end());
                assert!(decoded(&all) == text, "level {level}, bits {window_bits}");
                assert!(coder.history.text().len() <= 1 << window_bits);
            }
        }
    }

    /// A stream, what its peer has got, and what that should be.
    struct Stream {
        coder: Coder,
        got: Vec<u8>,
        text: Vec<u8>,
    }

    impl Stream {
        fn new(level: u8, window_bits: u8) -> Self {
            Self {
                coder: Coder::new(Gzip { level, window_bits }),
                got: Vec::new(),
                text: Vec::new(),
            }
        }

        fn send(&mut self, text: &[u8]) -> Arc<Vec<u8>> {
            let coded = self.coder.coded(text);
            self.got.extend_from_slice(&coded);
            self.text.extend_from_slice(text);
            coded
        }

        fn beat(&mut self) {
            let coded = self.coder.short(b":\n\n");
            self.got.extend_from_slice(&coded);
            self.text.extend_from_slice(b":\n\n");
        }

        fn check(mut self) {
            let end = self.coder.end();
            self.got.extend_from_slice(&end);
            assert!(decoded(&self.got) == self.text);
        }
    }

    #[test]
    fn streams_that_were_sent_the_same_for_a_window_share_what_follows_and_their_history() {
        let _alone = SHARED.write();
        let mut one = Stream::new(1, 11);
        let mut other = Stream::new(1, 11);
        one.send(b"a greeting of its own");
        other.send(b"another greeting, longer than that");
        for event in events(60) {
            one.send(&event);
            other.send(&event);
        }
        assert!(Arc::ptr_eq(&one.coder.history, &other.coder.history));
        assert!(Arc::ptr_eq(
            &one.send(b"the next one"),
            &other.send(b"the next one")
        ));
        one.beat();
        other.beat();
        assert!(Arc::ptr_eq(&one.coder.history, &other.coder.history));
        one.send(b"what only one of them gets");
        assert!(!Arc::ptr_eq(
            &one.send(b"both again"),
            &other.send(b"both again")
        ));
        one.check();
        other.check();
    }

    /// Streams of all kinds, sent their own texts and common ones, in an order that `seed` decides.
    fn mixed_streams(seed: u64) {
        let kinds = [
            (1, 9),
            (1, 13),
            (1, 13),
            (1, 13),
            (1, 13),
            (6, 13),
            (9, 15),
            (1, 15),
            (3, 10),
        ];
        let mut streams: Vec<_> = kinds.map(|(level, bits)| Stream::new(level, bits)).into();
        let common = events(300);
        let mut x = seed | 1;
        let mut chance = |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            (x >> 11) % n
        };
        for (n, event) in common.iter().enumerate() {
            match chance(8) {
                0 => streams[chance(9) as usize]
                    .send(format!("own {n} {}", chance(1 << 40)).as_bytes()),
                1 => streams[chance(9) as usize]
                    .send(&b"0123456789".repeat(chance(4000) as usize + 1)),
                _ => Arc::default(),
            };
            if chance(20) == 0 {
                streams[chance(9) as usize].beat();
            }
            for stream in &mut streams {
                stream.send(event);
            }
        }
        streams.into_iter().for_each(Stream::check);
    }

    #[test]
    fn streams_on_several_threads_that_share_pieces_and_compressors_can_all_be_decoded() {
        let _others = SHARED.read();
        std::thread::scope(|scope| {
            for seed in [7, 7, 19, 19, 23] {
                scope.spawn(move || mixed_streams(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed)));
            }
        });
    }

    #[test]
    fn a_piece_that_many_streams_are_sent_is_one_piece_of_memory() {
        let _alone = SHARED.write();
        let mut streams: Vec<_> = (0..20).map(|_| Stream::new(1, 13)).collect();
        for stream in &mut streams {
            stream.send(b"first");
        }
        let body = noise(500_000);
        let coded: Vec<_> = streams
            .iter_mut()
            .map(|stream| stream.send(&body))
            .collect();
        let copies = coded
            .windows(2)
            .filter(|two| !Arc::ptr_eq(&two[0], &two[1]));
        assert_eq!(copies.count(), 0);
        streams.into_iter().for_each(Stream::check);
    }

    #[test]
    fn a_stream_refers_to_its_earlier_pieces() {
        let _others = SHARED.read();
        let mut coder = Coder::new(Gzip {
            level: 1,
            window_bits: 13,
        });
        let (mut out, mut plain) = (Vec::new(), 0);
        for event in events(500) {
            plain += event.len();
            out.extend_from_slice(&coder.coded(&event));
        }
        assert!(out.len() * 2 < plain, "{} of {plain}", out.len());
    }

    #[test]
    fn a_stream_without_pieces_is_an_empty_body() {
        let mut coder = Coder::new(Gzip {
            level: 6,
            window_bits: 13,
        });
        assert!(coder.coded(b"").is_empty());
        assert_eq!(decoded(&coder.end()), b"");
    }

    #[test]
    fn what_cannot_be_compressed_would_be_stored() {
        for n in [0, 1, STORED, STORED + 1, 200_000] {
            let text = noise(n);
            let mut out = HEADER.to_vec();
            store(&text, true, &mut out);
            let mut sum = Crc::new();
            sum.update(&text);
            put_trailer(&sum, &mut out);
            assert_eq!(decoded(&out), text);
        }
    }

    #[test]
    fn flags_without_a_level_ask_for_no_coding() {
        assert_eq!(Gzip::of(0xff), None);
        let how = Gzip {
            level: 6,
            window_bits: 13,
        };
        assert_eq!(Gzip::of(6 << GZIP_LEVEL | 13 << GZIP_WINDOW | 1), Some(how));
    }
}
