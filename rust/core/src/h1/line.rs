//! Lines of a head: where they end, and whether they contain control characters.

use super::Limits;
use crate::error::Violation;
use crate::grammar::is_token;

/// One line without its CRLF.
#[derive(Clone, Copy)]
pub(super) struct Line {
    pub start: usize,
    pub end: usize,
    /// Whether a control character other than TAB is in it.
    pub dirty: bool,
}

impl Line {
    pub(super) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

/// Finds successive lines in a buffer that grows at its end.
///
/// Remembers how far it has scanned: a peer that sends one byte at a time costs as much as one that sends everything
/// together.
#[derive(Debug, Default)]
pub(super) struct LineScanner {
    start: usize,
    scanned: usize,
    dirty: bool,
}

impl LineScanner {
    /// Offset of the first line not yet returned.
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// The next complete line, or `None` when its CRLF has not arrived.
    ///
    /// A line is checked only when complete, except for the three errors that cannot become valid: bare CR, bare LF,
    /// too long.
    #[inline]
    pub(super) fn next(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Line>, Violation> {
        loop {
            let at = find_control(buf, self.scanned);
            if at.saturating_sub(self.start) > limits.line.saturating_sub(2) {
                return Err(Violation::LineTooLong);
            }
            self.scanned = at;
            match &buf[at..] {
                [] | [b'\r'] => return Ok(None),
                [b'\r', b'\n', ..] => return Ok(Some(self.end_line(at))),
                [b'\r', ..] => return Err(Violation::BareCr),
                [b'\n', ..] => return Err(Violation::BareLf),
                _ => {
                    self.dirty = true;
                    self.scanned = at + 1;
                }
            }
        }
    }

    fn end_line(&mut self, end: usize) -> Line {
        let line = Line {
            start: self.start,
            end,
            dirty: self.dirty,
        };
        *self = LineScanner {
            start: end + 2,
            scanned: end + 2,
            dirty: false,
        };
        line
    }
}

const ONES: u64 = u64::from_le_bytes([1; 8]);
const HIGH: u64 = ONES << 7;

/// Offset of the first control character other than TAB at or after `from`, else the length.
///
/// Eight bytes per step: this loop sees every byte of every head.
fn find_control(buf: &[u8], from: usize) -> usize {
    let mut at = from.min(buf.len());
    while let Some(eight) = buf.get(at..at + 8) {
        let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let del = word ^ (ONES * 0x7f);
        let del = del.wrapping_sub(ONES) & !del;
        let hits = (below_space | del) & HIGH;
        if hits == 0 {
            at += 8;
            continue;
        }
        // Borrows reach only bytes above a true hit, so the lowest one is exact.
        at += hits.trailing_zeros() as usize / 8;
        if buf[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    let rest = &buf[at..];
    at + rest
        .iter()
        .position(|&b| is_control(b))
        .unwrap_or(rest.len())
}

fn is_control(b: u8) -> bool {
    b.is_ascii_control() && b != b'\t'
}

/// Offsets of a header line's name and of its value without surrounding white space.
#[inline]
pub(super) fn split_header(buf: &[u8], line: Line) -> Result<[usize; 3], Violation> {
    let bytes = &buf[line.start..line.end];
    let colon = bytes
        .iter()
        .position(|&b| !is_token(b))
        .unwrap_or(bytes.len());
    match bytes.get(colon) {
        Some(b' ' | b'\t') if colon == 0 => return Err(Violation::ObsFold),
        Some(b':') if colon > 0 => {}
        _ => return Err(Violation::HeaderName),
    }
    if line.dirty {
        return Err(Violation::HeaderValue);
    }
    let (mut start, mut end) = (line.start + colon + 1, line.end);
    while start < end && is_blank(buf[start]) {
        start += 1;
    }
    while start < end && is_blank(buf[end - 1]) {
        end -= 1;
    }
    Ok([line.start + colon, start, end])
}

fn is_blank(b: u8) -> bool {
    matches!(b, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call looks again at no more than one byte, so the cost of a head is linear in its bytes and in the number of
    /// pieces, whatever their sizes.
    #[test]
    fn a_scanner_never_looks_twice_at_more_than_a_final_cr() {
        let limits = Limits::default();
        let text = b"GET /aaaaaaaaaaaaaaaaaaaa\t HTTP/1.1\r\nX: \0\0 bbbbbbbbbb\r\n\r\n";
        let mut scanner = LineScanner::default();
        let mut lines = 0;
        for end in 0..=text.len() {
            let seen = scanner.scanned;
            while let Some(line) = scanner.next(&text[..end], &limits).expect("good lines") {
                assert_eq!(scanner.scanned, line.end + 2);
                lines += 1;
            }
            assert!(scanner.scanned >= seen, "went back at {end}");
            assert!(scanner.scanned + 1 >= end, "left {end} for later");
        }
        assert_eq!(lines, 3);
    }

    #[test]
    fn every_control_character_but_tab_is_found_at_every_offset() {
        for b in 0..=255u8 {
            for at in 0..20 {
                let mut buf = [b'a'; 20];
                buf[at] = b;
                let expected = if b != b'\t' && (b < 0x20 || b == 0x7f) {
                    at
                } else {
                    20
                };
                assert_eq!(find_control(&buf, 0), expected, "byte {b} at {at}");
            }
        }
    }

    #[test]
    fn bytes_beside_a_hit_do_not_hide_or_move_it() {
        for pair in 0..=0xffffu16 {
            let [a, b] = pair.to_le_bytes();
            let buf = [b'x', b'x', a, b, b'x', b'x', b'x', b'x', b'x'];
            let expected = buf.iter().position(|&b| is_control(b)).unwrap_or(9);
            assert_eq!(find_control(&buf, 0), expected, "{a} {b}");
        }
    }
}
