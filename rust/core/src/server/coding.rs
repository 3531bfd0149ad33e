//! The gzip coding of responses: whole bodies, and streams of which each piece can be decoded as it arrives.
//!
//! A compressor takes 380 KB, so a stream has none between its pieces. It keeps the last bytes of the plain text, to
//! which a compressor would refer back, and each piece takes a compressor from a small pool and primes it with them.
//! To the peer that is one deflate stream. Time is spent on the sender's thread, without a connection's lock.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use parking_lot::Mutex;

/// Where a response's flags have the level; 0 there is no coding.
pub const GZIP_LEVEL: u32 = 8;
/// Where they have the window's size as a power of two.
pub const GZIP_WINDOW: u32 = 12;

/// No extra fields, no time, unknown system.
const HEADER: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// An empty last block.
const LAST_BLOCK: &[u8] = &[3, 0];
/// Most bytes of a stored block.
const STORED: usize = 0xffff;

/// How a response is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gzip {
    /// 1 (fast) to 9 (small).
    pub level: u8,
    /// A stream remembers two to the power of this many bytes of its text: 9 to 15.
    pub window_bits: u8,
}

impl Gzip {
    /// The coding that a response's flags ask for.
    pub fn of(flags: u32) -> Option<Self> {
        let level = (flags >> GZIP_LEVEL & 15) as u8;
        let window_bits = (flags >> GZIP_WINDOW & 15) as u8;
        (level > 0).then_some(Self {
            level: level.min(9),
            window_bits: window_bits.max(9),
        })
    }

    /// A whole body, coded.
    pub fn whole(self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() / 3 + 64);
        out.extend_from_slice(HEADER);
        deflate(self.level, &[], body, FlushCompress::Finish, &mut out);
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
    /// The end of the text so far.
    history: Vec<u8>,
    sum: Crc,
    begun: bool,
}

impl Coder {
    pub(super) fn new(how: Gzip) -> Self {
        Self {
            how,
            history: Vec::new(),
            sum: Crc::new(),
            begun: false,
        }
    }

    /// A coded piece, which can be decoded as soon as it arrives; empty for an empty one.
    pub(super) fn coded(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        self.piece(text, &mut out);
        out
    }

    fn piece(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.begin(out);
        let level = self.how.level;
        deflate(level, &self.history, text, FlushCompress::Sync, out);
        self.remember(text);
    }

    /// As [`Self::piece`], for a few bytes and without a compressor.
    pub(super) fn short_piece(&mut self, text: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        store(text, false, out);
        self.remember(text);
    }

    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        out.extend_from_slice(LAST_BLOCK);
        put_trailer(&self.sum, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(HEADER);
        }
    }

    fn remember(&mut self, text: &[u8]) {
        self.sum.update(text);
        let window = 1 << self.how.window_bits;
        let fresh = &text[text.len().saturating_sub(window)..];
        let old = self.history.len().min(window - fresh.len());
        self.history.drain(..self.history.len() - old);
        let wanted = (old + fresh.len()).next_power_of_two().min(window);
        self.history.reserve_exact(wanted - old);
        self.history.extend_from_slice(fresh);
    }
}

fn put_trailer(sum: &Crc, out: &mut Vec<u8>) {
    out.extend_from_slice(&sum.sum().to_le_bytes());
    out.extend_from_slice(&sum.amount().to_le_bytes());
}

/// Blocks without compression. They must begin at a byte's first bit.
fn store(text: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut pieces = text.chunks(STORED).peekable();
    while let Some(piece) = pieces.next() {
        let length = piece.len() as u16;
        out.push(u8::from(last && pieces.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    if last && text.is_empty() {
        out.extend_from_slice(LAST_BLOCK);
    }
}

/// Compressors that are not in use, the last used ones first: they are in a processor's cache.
static POOL: Mutex<Vec<Compress>> = Mutex::new(Vec::new());
/// Most of them: more threads than this rarely compress at the same time.
const POOLED: usize = 8;

/// Appends the deflate coding of `text`, which may refer to `history`.
fn deflate(level: u8, history: &[u8], text: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
    let level = Compression::new(level.into());
    let pooled = POOL.lock().pop();
    let mut engine = pooled.unwrap_or_else(|| Compress::new(level, false));
    engine.reset();
    let start = out.len();
    if run(&mut engine, level, history, text, flush, out).is_some() {
        let mut pool = POOL.lock();
        if pool.len() < POOLED {
            pool.push(engine);
        }
    } else {
        // It never fails; if it did, this would still be the text.
        out.truncate(start);
        store(text, matches!(flush, FlushCompress::Finish), out);
    }
}

fn run(
    engine: &mut Compress,
    level: Compression,
    history: &[u8],
    text: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Option<()> {
    engine.set_level(level).ok()?;
    if !history.is_empty() {
        engine.set_dictionary(history).ok()?;
    }
    loop {
        let used = engine.total_in() as usize;
        out.reserve((text.len() - used) / 3 + 64);
        let status = engine.compress_vec(&text[used..], out, flush).ok()?;
        let whole = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // If room is left over, the compressor holds no more output.
            _ => engine.total_in() as usize == text.len() && out.len() < out.capacity(),
        };
        if whole {
            return Some(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use flate2::{Decompress, FlushDecompress};

    use super::*;

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
                        coder.short_piece(b":\n\n", &mut coded);
                        text.extend_from_slice(b":\n\n");
                    }
                    coder.piece(piece, &mut coded);
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
                coder.end(&mut all);
                assert!(decoded(&all) == text, "level {level}, bits {window_bits}");
                assert!(coder.history.capacity() <= 1 << window_bits);
            }
        }
    }

    #[test]
    fn a_stream_refers_to_its_earlier_pieces() {
        let mut coder = Coder::new(Gzip {
            level: 1,
            window_bits: 13,
        });
        let (mut out, mut plain) = (Vec::new(), 0);
        for event in events(500) {
            plain += event.len();
            coder.piece(&event, &mut out);
        }
        assert!(out.len() * 2 < plain, "{} of {plain}", out.len());
    }

    #[test]
    fn a_stream_without_pieces_is_an_empty_body() {
        let mut out = Vec::new();
        let mut coder = Coder::new(Gzip {
            level: 6,
            window_bits: 13,
        });
        coder.piece(b"", &mut out);
        assert!(out.is_empty());
        coder.end(&mut out);
        assert_eq!(decoded(&out), b"");
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
