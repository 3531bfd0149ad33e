//! The access log: a record of each exchange that is over, queued for the embedder. Also [`Draft`](super::request)'s
//! counterpart: what a record has of its request.
//!
//! All numbers are little endian:
//!
//! | at | size | what |
//! |---|---|---|
//! | 0 | 4 | length of the record |
//! | 4 | 1 | index in [`crate::h1::head::METHODS`], or 255: the first text |
//! | 5 | 1 | 1 for HTTP/1.1, 0 for HTTP/1.0 or unknown |
//! | 6 | 2 | status of the response, 0 if none was begun |
//! | 8 | 1 | [`Ended`] |
//! | 9 | 1 | length of the peer's address: 0 (none), 4 or 16 |
//! | 10 | 2 | peer's port |
//! | 12 | 1 | TLS version: 0 (none), 2 or 3 for 1.2 or 1.3 |
//! | 16 | 8 | when the head had arrived, milliseconds since 1970 |
//! | 24 | 8 | microseconds from then to the end |
//! | 32 | 8 | microseconds from then to the head of the response, -1 if none was begun |
//! | 40 | 8 | bytes of the request's body, or of a WebSocket's received frames |
//! | 48 | 8 | bytes sent after the head of the response |
//! | 56 | 16 | peer's address |
//! | 72 | 6 × 4 | lengths of the texts |
//! | 96 | | texts: method, target (of a request that is none: its first line), `Host`, `User-Agent`, `Referer`, and what follows `Basic` in `Authorization`; each cut off at [`MAX_TEXT`] |

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Condvar, Mutex};

use super::request::{self, FLAG_HTTP11};
use crate::h1::head::{EXTENSION_METHOD, id_of};

/// Most records that wait for the embedder; further ones are dropped, and counted.
pub(super) const MOST_RECORDS: usize = 8192;
/// Most bytes that these take.
const MOST_BYTES: usize = 16 << 20;
/// How long the first record waits for others, to be handed over with it.
const GATHER: Duration = Duration::from_millis(20);
/// Records that are not kept waiting for others.
const MANY: usize = 1024;

const FIXED: usize = 96;
const TEXTS: usize = 6;
/// Longer texts are cut off.
pub(super) const MAX_TEXT: usize = 8192;

const HOST: u8 = id_of("host");
const USER_AGENT: u8 = id_of("user-agent");
const REFERER: u8 = id_of("referer");
const AUTHORIZATION: u8 = id_of("authorization");

/// How an exchange has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Ended {
    /// The kernel has the whole response; or of a WebSocket a close frame, and all that was sent before it.
    Done = 0,
    /// The connection ended before.
    Aborted = 1,
    /// A time limit has ended it.
    TimedOut = 2,
}

/// A record that lacks the response.
#[derive(Debug)]
pub(super) struct Record(Vec<u8>);

impl Record {
    /// Of a request, as [`super::request`] describes it.
    pub(super) fn of_request(block: &[u8]) -> Self {
        let mut texts = [&[][..]; TEXTS];
        texts[0] = request::text(block, 24);
        texts[1] = request::text(block, 32);
        for (id, value) in request::fields(block) {
            let (at, text) = match id {
                HOST => (2, value),
                USER_AGENT => (3, value),
                REFERER => (4, value),
                AUTHORIZATION => (5, basic(value)),
                _ => continue,
            };
            if texts[at].is_empty() {
                texts[at] = text;
            }
        }
        let mut record = Self::of_texts(texts);
        record.0[4] = block[9];
        record.0[5] = block[10] & FLAG_HTTP11;
        record.0[9] = block[11];
        record.0[10..12].copy_from_slice(&block[12..14]);
        record.0[56..72].copy_from_slice(&block[48..64]);
        record
    }

    /// Of what is no valid request, from its first line.
    pub(super) fn of_line(line: &[u8], peer: Option<std::net::SocketAddr>) -> Self {
        let mut texts = [&[][..]; TEXTS];
        texts[1] = line;
        let mut record = Self::of_texts(texts);
        record.0[4] = EXTENSION_METHOD;
        if let Some(peer) = peer {
            let (length, octets) = request::octets(peer.ip());
            record.0[9] = length;
            record.0[10..12].copy_from_slice(&peer.port().to_le_bytes());
            record.0[56..72].copy_from_slice(&octets);
        }
        record
    }

    fn of_texts(texts: [&[u8]; TEXTS]) -> Self {
        let texts = texts.map(|text| &text[..text.len().min(MAX_TEXT)]);
        let length = FIXED + texts.iter().map(|text| text.len()).sum::<usize>();
        let mut record = Vec::with_capacity(length);
        record.resize(FIXED, 0);
        record[..4].copy_from_slice(&(length as u32).to_le_bytes());
        record[32..40].copy_from_slice(&(-1_i64).to_le_bytes());
        for (i, text) in texts.into_iter().enumerate() {
            let at = 72 + 4 * i;
            record[at..at + 4].copy_from_slice(&(text.len() as u32).to_le_bytes());
            record.extend_from_slice(text);
        }
        Self(record)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The version of its TLS: 2 or 3.
    pub(super) fn tls(&mut self, version: u8) {
        self.0[12] = version;
    }

    /// The response has a head.
    pub(super) fn begun(&mut self, status: u16, after: Duration) {
        self.0[6..8].copy_from_slice(&status.to_le_bytes());
        self.put(32, after.as_micros() as u64);
    }

    pub(super) fn status(&self) -> u16 {
        u16::from_le_bytes([self.0[6], self.0[7]])
    }

    /// Bytes of the body that came with the request.
    pub(super) fn received(&mut self, bytes: u64) {
        self.put(40, bytes);
    }

    fn end(&mut self, ended: Ended, arrived: Instant, sent: u64) {
        let took = arrived.elapsed();
        let began = SystemTime::now().checked_sub(took);
        let since = began.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        self.0[8] = ended as u8;
        self.put(16, since.unwrap_or_default().as_millis() as u64);
        self.put(24, took.as_micros() as u64);
        self.put(48, sent);
    }

    fn put(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_le_bytes());
    }
}

/// What follows the scheme in an `Authorization` of scheme Basic.
fn basic(value: &[u8]) -> &[u8] {
    match value.split_at_checked(6) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"basic ") => rest.trim_ascii(),
        _ => &[],
    }
}

/// The records of a server that wait for the embedder.
#[derive(Debug, Default)]
pub(super) struct AccessLog {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    added: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<u8>,
    count: usize,
    /// A thread waits for them.
    awaited: bool,
    closed: bool,
}

impl AccessLog {
    /// Adds an exchange that is over. Any lock may be held.
    pub(super) fn push(&self, mut record: Record, ended: Ended, arrived: Instant, sent: u64) {
        record.end(ended, arrived, sent);
        let mut waiting = self.waiting.lock();
        if waiting.count == MOST_RECORDS || waiting.records.len() + record.len() > MOST_BYTES {
            drop(waiting);
            self.note_dropped(1);
            self.added.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let need = waiting.records.len() + record.len();
        if need > waiting.records.capacity() {
            // Doubling by itself would exceed the limit.
            let more = (2 * need).min(MOST_BYTES) - waiting.records.len();
            waiting.records.reserve_exact(more);
        }
        waiting.records.extend_from_slice(&record.0);
        waiting.count += 1;
        // Not for each record: waking a thread takes longer than all of this.
        if waiting.awaited && (waiting.count == 1 || waiting.count == MANY) {
            self.arrived.notify_one();
        }
        drop(waiting);
        self.added.fetch_add(1, Ordering::Relaxed);
    }

    /// Blocks until there are records, and returns them, and their number; `None` once the log is closed and empty.
    pub(super) fn take(&self) -> Option<(Vec<u8>, usize)> {
        let mut waiting = self.waiting.lock();
        waiting.awaited = true;
        while waiting.count == 0 && !waiting.closed {
            self.arrived.wait(&mut waiting);
        }
        let until = Instant::now() + GATHER;
        while waiting.count < MANY && !waiting.closed {
            if self.arrived.wait_until(&mut waiting, until).timed_out() {
                break;
            }
        }
        waiting.awaited = false;
        let count = std::mem::take(&mut waiting.count);
        (count > 0).then(|| (std::mem::take(&mut waiting.records), count))
    }

    /// No more will be added.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_all();
    }

    /// This many records are lost; returns how many are.
    pub(super) fn note_dropped(&self, count: u64) -> u64 {
        self.dropped.fetch_add(count, Ordering::Relaxed) + count
    }

    /// How many exchanges are over since the start, and how many of their records were lost.
    pub(super) fn counts(&self) -> [u64; 2] {
        [&self.added, &self.dropped].map(|count| count.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &AccessLog) {
        let record = Record::of_line(b"x", None);
        log.push(record, Ended::Done, Instant::now(), 0);
    }

    #[test]
    fn records_that_the_queue_has_no_room_for_are_dropped_and_counted() {
        let log = AccessLog::default();
        (0..MOST_RECORDS + 3).for_each(|_| push(&log));
        assert_eq!(log.counts(), [MOST_RECORDS as u64 + 3, 3]);
        assert_eq!(log.take().unwrap().1, MOST_RECORDS);
        push(&log);
        assert_eq!(log.take().unwrap().1, 1);
    }

    #[test]
    fn the_queue_is_bounded_in_bytes_too() {
        let log = AccessLog::default();
        let long = [b'x'; 2 * MAX_TEXT];
        for _ in 0..MOST_RECORDS {
            let record = Record::of_line(&long, None);
            log.push(record, Ended::Done, Instant::now(), 0);
        }
        let (records, count) = log.take().unwrap();
        assert!(records.len() <= MOST_BYTES && count * MAX_TEXT < records.len());
        assert_eq!(log.counts()[1] as usize, MOST_RECORDS - count);
    }

    #[test]
    fn a_closed_log_hands_over_what_it_has_and_ends() {
        let log = AccessLog::default();
        push(&log);
        log.close();
        assert_eq!(log.take().unwrap().1, 1);
        assert!(log.take().is_none());
    }

    #[test]
    fn a_thread_that_waits_gets_each_record() {
        let log = AccessLog::default();
        std::thread::scope(|scope| {
            let taken = scope.spawn(|| {
                std::iter::from_fn(|| log.take())
                    .map(|(_, n)| n)
                    .sum::<usize>()
            });
            (0..3000).for_each(|_| push(&log));
            log.close();
            assert_eq!(taken.join().unwrap() as u64 + log.counts()[1], 3000);
        });
    }

    #[test]
    fn only_basic_authorization_names_a_user() {
        assert_eq!(basic(b"bAsic  dTpw "), b"dTpw");
        for other in [&b"Bearer abc"[..], b"Basic", b""] {
            assert_eq!(basic(other), b"");
        }
    }
}
