//! A deflate coder for short pieces of many streams. Its state is small enough to keep one for each stream, so that
//! nothing has to be prepared for a piece: the end of the text, and where some of its words are.
//!
//! It codes as a compressor's fastest level does: the last place with the same four bytes, and the fixed code.

use std::ops::Range;

/// Places of the index, by a hash of four bytes: one place each.
const SLOT_BITS: u32 = 11;
/// Fewer bytes than this need not be in the index.
const FEW: usize = 64;
const SHORTEST: usize = 4;
const LONGEST: usize = 258;
const END_OF_BLOCK: usize = 256;

/// The fixed code (RFC 1951 3.2.6) of literals and lengths: bits in the order in which they are sent, and how many.
static CODES: [(u16, u8); 288] = codes();

const fn codes() -> [(u16, u8); 288] {
    let mut codes = [(0, 0); 288];
    let mut symbol = 0;
    while symbol < codes.len() {
        let (code, len) = match symbol {
            0..144 => (0x30 + symbol, 8),
            144..256 => (0x190 + symbol - 144, 9),
            256..280 => (symbol - 256, 7),
            _ => (0xc0 + symbol - 280, 8),
        };
        codes[symbol] = ((code as u16).reverse_bits() >> (16 - len), len);
        symbol += 1;
    }
    codes
}

/// The end of a stream's text, to which what follows may refer.
#[derive(Debug, Clone, Default)]
pub(super) struct Past {
    text: Vec<u8>,
    /// The index of its last byte's successor in the whole text, modulo 65536.
    at: u16,
    /// Where words begin; what they are is checked, as an entry may be of long ago, or of nothing. Empty if unused.
    index: Vec<u16>,
}

impl PartialEq for Past {
    /// What may follow is the same.
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Past {
    pub(super) fn text(&self) -> &[u8] {
        &self.text
    }

    /// The past after `more`, of which two to the power of `window_bits` bytes are kept.
    pub(super) fn after(&self, more: &[u8], window_bits: u8) -> Self {
        let window = 1 << window_bits;
        let fresh = &more[more.len().saturating_sub(window)..];
        let kept = self.text.len().min(window - fresh.len());
        Self {
            text: [&self.text[self.text.len() - kept..], fresh].concat(),
            at: self.at.wrapping_add(more.len() as u16),
            // The words of a heartbeat are not worth noting.
            index: match more.len() {
                0..FEW => self.index.clone(),
                _ => Vec::new(),
            },
        }
    }

    /// Appends the coded `more`, ended by a sync flush; returns the past after it.
    pub(super) fn code(&self, more: &[u8], window_bits: u8, out: &mut Vec<u8>) -> Self {
        let mut whole = Vec::with_capacity(self.text.len() + more.len());
        whole.extend_from_slice(&self.text);
        whole.extend_from_slice(more);
        let (mut index, noted) = match self.index.len() {
            0 => (vec![0; 1 << SLOT_BITS], 0),
            // The last bytes become words with what follows.
            _ => (
                self.index.clone(),
                self.text.len().saturating_sub(SHORTEST - 1),
            ),
        };
        let mut words = Words {
            text: &whole,
            zero: self.at.wrapping_sub(self.text.len() as u16),
            index: &mut index,
            window: 1 << window_bits,
        };
        words.note_all(noted..self.text.len());
        words.code(self.text.len(), out);
        let surplus = whole.len().saturating_sub(1 << window_bits);
        Self {
            text: whole[surplus..].to_vec(),
            at: self.at.wrapping_add(more.len() as u16),
            index,
        }
    }
}

/// A text and the places of its words.
struct Words<'a> {
    text: &'a [u8],
    /// What the index calls the text's first byte.
    zero: u16,
    index: &'a mut [u16],
    window: usize,
}

impl Words<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        self.text[at..]
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))
    }

    /// Notes a word's place; returns the distance from its former place, if it may be one.
    fn note(&mut self, at: usize, word: u32) -> usize {
        let slot = &mut self.index[(word.wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS)) as usize];
        let here = self.zero.wrapping_add(at as u16);
        here.wrapping_sub(std::mem::replace(slot, here)).into()
    }

    fn code(&mut self, start: usize, out: &mut Vec<u8>) {
        let mut bits = Bits::new(out);
        bits.put(0b010, 3); // a block in the fixed code
        let mut at = start;
        while at < self.text.len() {
            match self.repeated(at) {
                Some((len, distance)) => {
                    bits.repeat(len, distance);
                    self.note_all(at + 1..at + len);
                    at += len;
                }
                None => {
                    bits.symbol(self.text[at].into());
                    at += 1;
                }
            }
        }
        bits.symbol(END_OF_BLOCK);
        bits.flush();
    }

    fn note_all(&mut self, places: Range<usize>) {
        for at in places {
            if let Some(word) = self.word(at) {
                self.note(at, word);
            }
        }
    }

    /// How many bytes are those of this distance before.
    fn repeated(&mut self, at: usize) -> Option<(usize, usize)> {
        let word = self.word(at)?;
        let distance = self.note(at, word);
        if distance == 0 || distance > at.min(self.window) || self.word(at - distance) != Some(word)
        {
            return None;
        }
        let most = LONGEST.min(self.text.len() - at);
        let (here, there) = (&self.text[at..at + most], &self.text[at - distance..]);
        let mut len = SHORTEST;
        while len + 8 <= most && here[len..len + 8] == there[len..len + 8] {
            len += 8;
        }
        while len < most && here[len] == there[len] {
            len += 1;
        }
        Some((len, distance))
    }
}

/// Bits on their way into bytes.
struct Bits<'a> {
    out: &'a mut Vec<u8>,
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            held: 0,
            count: 0,
        }
    }

    /// At most 32 bits.
    fn put(&mut self, bits: u64, count: u32) {
        self.held |= bits << self.count;
        self.count += count;
        if self.count >= 32 {
            self.out
                .extend_from_slice(&(self.held as u32).to_le_bytes());
            self.held >>= 32;
            self.count -= 32;
        }
    }

    fn symbol(&mut self, symbol: usize) {
        let (code, len) = CODES[symbol];
        self.put(code.into(), len.into());
    }

    /// A length from 3 to 258, and a distance (RFC 1951 3.2.5).
    fn repeat(&mut self, len: usize, distance: usize) {
        let (symbol, extra) = match len {
            LONGEST => (28, 0),
            _ => bucket(len - 3, 2),
        };
        self.symbol(END_OF_BLOCK + 1 + symbol);
        self.put(((len - 3) & ((1 << extra) - 1)) as u64, extra);
        let (symbol, extra) = bucket(distance - 1, 1);
        self.put(u64::from((symbol as u8).reverse_bits() >> 3), 5);
        self.put(((distance - 1) & ((1 << extra) - 1)) as u64, extra);
    }

    /// An empty stored block; what follows it begins with a whole byte.
    fn flush(mut self) {
        self.put(0, 3);
        let bytes = self.count.div_ceil(8) as usize;
        self.out
            .extend_from_slice(&self.held.to_le_bytes()[..bytes]);
        self.out.extend_from_slice(&[0, 0, 0xff, 0xff]);
    }
}

/// The symbol that stands for a number, and how many further bits say which. Each power of two has `1 << fine`
/// symbols.
fn bucket(number: usize, fine: u32) -> (usize, u32) {
    if number < 2 << fine {
        return (number, 0);
    }
    let extra = number.ilog2() - fine;
    (((extra as usize) << fine) + (number >> extra), extra)
}

#[cfg(test)]
mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    /// Texts that repeat themselves and each other at all lengths and distances, and some that do not.
    fn texts() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let text = prop_oneof![
            "[ab]{0,700}".prop_map(String::into_bytes),
            "(data: [0-9]{1,4} of the same\n){0,90}".prop_map(String::into_bytes),
            prop::collection::vec(any::<u8>(), 0..2000),
            (any::<u8>(), 0..20_000_usize).prop_map(|(byte, n)| vec![byte; n]),
        ];
        prop::collection::vec(text, 1..12)
    }

    proptest! {
        #[test]
        fn whatever_texts_follow_each_other_each_can_be_decoded_when_it_is_coded(
            texts in texts(),
            window_bits in 9..=15_u8,
            skipped in any::<u16>(),
        ) {
            let mut past = Past::default();
            let mut peer = Decompress::new(false);
            for (n, text) in texts.iter().enumerate() {
                let mut coded = Vec::new();
                if skipped >> (n % 16) & 1 == 1 {
                    // As text of another coder: a stored block.
                    past = past.after(text, window_bits);
                    for piece in text.chunks(0xffff) {
                        let len = piece.len() as u16;
                        coded.extend_from_slice(&[[0].as_slice(), &len.to_le_bytes(), &(!len).to_le_bytes(), piece].concat());
                    }
                } else {
                    past = past.code(text, window_bits, &mut coded);
                }
                let mut out = vec![0; text.len() + 1];
                let before = (peer.total_in(), peer.total_out());
                peer.decompress(&coded, &mut out, FlushDecompress::Sync).unwrap();
                prop_assert_eq!(peer.total_in() - before.0, coded.len() as u64);
                prop_assert_eq!(peer.total_out() - before.1, text.len() as u64);
                prop_assert!(out.starts_with(text));
                prop_assert!(past.text.len() <= 1 << window_bits);
            }
        }

        #[test]
        fn a_past_suits_all_streams_whose_text_ends_alike(
            before in texts(),
            window_bits in 9..=15_u8,
            next in "(data: [0-9]{1,4} of the same\n){0,90}",
        ) {
            // The other stream has had nothing but the end.
            let all = before.iter().fold(Past::default(), |past, text| past.code(text, window_bits, &mut Vec::new()));
            let end = all.text.clone();
            let mut coded = Vec::new();
            all.code(next.as_bytes(), window_bits, &mut coded);
            let mut peer = Decompress::new(false);
            let mut start = Vec::new();
            let other = Past::default().code(&end, window_bits, &mut start);
            prop_assert!(other == all);
            let mut out = vec![0; end.len() + 1];
            peer.decompress(&start, &mut out, FlushDecompress::Sync).unwrap();
            let mut out = vec![0; next.len() + 1];
            peer.decompress(&coded, &mut out, FlushDecompress::Sync).unwrap();
            prop_assert!(out.starts_with(next.as_bytes()));
            prop_assert_eq!(peer.total_out(), (end.len() + next.len()) as u64);
        }
    }

    #[test]
    fn every_length_and_distance_has_its_symbol() {
        // RFC 1951 3.2.5: the first length and distance of each symbol, and how many bits follow.
        for (first, symbol, extra) in [
            (3, 0, 0),
            (10, 7, 0),
            (11, 8, 1),
            (18, 11, 1),
            (19, 12, 2),
            (227, 27, 5),
            (257, 27, 5),
        ] {
            assert_eq!(bucket(first - 3, 2), (symbol, extra), "length {first}");
        }
        for (first, symbol, extra) in [
            (1, 0, 0),
            (4, 3, 0),
            (5, 4, 1),
            (7, 5, 1),
            (24577, 29, 13),
            (32768, 29, 13),
        ] {
            assert_eq!(bucket(first - 1, 1), (symbol, extra), "distance {first}");
        }
    }
}
