//! A connection's exchanges that the access log does not have yet: those whose response the kernel does not have in
//! full.
//!
//! Positions are numbers of bytes that the connection has sent since it began. A response is complete once the kernel
//! has taken the bytes before the position at which it ends, on whichever thread, and in whichever batch.
//!
//! Not here: when that is (`logged.rs`), and what is recorded (`access.rs`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::access::{AccessLog, Ended, Record};

/// The status of a WebSocket's response.
const SWITCHING: u16 = 101;

#[derive(Debug)]
pub(super) struct Journal {
    log: Arc<AccessLog>,
    /// The oldest first.
    open: VecDeque<Entry>,
    /// Bytes that they take.
    len: usize,
}

/// Room for entries that a connection keeps between requests.
const MOST_IDLE: usize = 8;

#[derive(Debug)]
struct Entry {
    record: Record,
    arrived: Instant,
    received: u64,
    /// Where the response's body begins.
    begins: Option<u64>,
    /// Where it ends, once that is known.
    ends: Option<u64>,
    timed_out: bool,
}

impl Journal {
    pub(super) fn new(log: Arc<AccessLog>) -> Box<Self> {
        Box::new(Self {
            log,
            open: VecDeque::new(),
            len: 0,
        })
    }

    /// Bytes that its entries take.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// A request has arrived, with these bytes of its body.
    pub(super) fn add(&mut self, record: Record, arrived: Instant, received: u64) {
        self.len += record.len() + size_of::<Entry>();
        self.open.push_back(Entry {
            record,
            arrived,
            received,
            begins: None,
            ends: None,
            timed_out: false,
        });
    }

    /// The latest request, if its response is not complete.
    fn current(&mut self) -> Option<&mut Entry> {
        self.open.back_mut().filter(|entry| entry.ends.is_none())
    }

    /// The current request's response has a head, behind which `position` is.
    pub(super) fn begin(&mut self, status: u16, position: u64) {
        if let Some(entry) = self.current() {
            entry.record.begun(status, entry.arrived.elapsed());
            entry.begins = Some(position);
        }
    }

    /// The current response, if there is one, ends at `position`.
    pub(super) fn end(&mut self, position: u64) {
        if let Some(entry) = self.current()
            && entry.begins.is_some()
        {
            entry.ends = Some(position);
        }
    }

    /// More of the current request's body, or of a WebSocket's frames, has arrived.
    pub(super) fn received(&mut self, bytes: usize) {
        if let Some(entry) = self.current() {
            entry.received += bytes as u64;
        }
    }

    /// A time limit ends the current exchange.
    pub(super) fn time_out(&mut self) {
        if let Some(entry) = self.current() {
            entry.timed_out = true;
        }
    }

    /// A time limit ends all of them.
    pub(super) fn time_out_all(&mut self) {
        self.open
            .iter_mut()
            .for_each(|entry| entry.timed_out = true);
    }

    /// The kernel has the bytes before `position`.
    pub(super) fn settle(&mut self, position: u64) {
        while let Some(entry) = self.open.pop_front_if(|entry| entry.is_sent(position)) {
            self.push(entry, Ended::Done, position);
        }
        if self.open.is_empty() && self.open.capacity() > MOST_IDLE {
            self.open = VecDeque::new();
        }
    }

    /// The connection is over, and the kernel has taken the bytes before `position`. `closed`: if it is a WebSocket, a
    /// close frame is the last of them.
    pub(super) fn close(&mut self, position: u64, closed: bool) {
        while let Some(entry) = self.open.pop_front() {
            let ended = match entry.record.status() {
                SWITCHING if closed => Ended::Done,
                _ => Ended::Aborted,
            };
            self.push(entry, ended, position);
        }
    }

    fn push(&mut self, mut entry: Entry, ended: Ended, position: u64) {
        let sent = match entry.begins {
            Some(begins) => entry
                .ends
                .unwrap_or(position)
                .min(position)
                .saturating_sub(begins),
            None => 0,
        };
        let ended = match entry.timed_out {
            true => Ended::TimedOut,
            false => ended,
        };
        self.len -= entry.record.len() + size_of::<Entry>();
        entry.record.received(entry.received);
        self.log.push(entry.record, ended, entry.arrived, sent);
    }
}

impl Entry {
    fn is_sent(&self, position: u64) -> bool {
        self.ends.is_some_and(|ends| ends <= position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How the only record has ended.
    fn ended(log: &AccessLog) -> u8 {
        let (records, count) = log.take().unwrap();
        assert_eq!(count, 1);
        records[8]
    }

    fn with_one(log: &Arc<AccessLog>) -> Box<Journal> {
        let mut journal = Journal::new(log.clone());
        journal.add(Record::of_line(b"x", None), Instant::now(), 0);
        journal
    }

    #[test]
    fn a_time_limit_of_a_request_does_not_count_for_the_one_before() {
        let log = Arc::<AccessLog>::default();
        let mut journal = with_one(&log);
        journal.begin(200, 10);
        journal.end(100);
        journal.time_out();
        journal.settle(99);
        assert!(journal.len() > 0);
        journal.settle(100);
        assert_eq!((ended(&log), journal.len()), (Ended::Done as u8, 0));
    }

    #[test]
    fn a_time_limit_counts_for_the_response_that_it_causes() {
        let log = Arc::<AccessLog>::default();
        let mut journal = with_one(&log);
        journal.time_out();
        journal.begin(408, 10);
        journal.end(10);
        journal.settle(10);
        assert_eq!(ended(&log), Ended::TimedOut as u8);
    }

    #[test]
    fn a_websocket_is_done_only_if_it_was_closed() {
        for (closed, how) in [(true, Ended::Done), (false, Ended::Aborted)] {
            let log = Arc::<AccessLog>::default();
            let mut journal = with_one(&log);
            journal.begin(101, 10);
            journal.close(50, closed);
            assert_eq!(ended(&log), how as u8);
        }
    }
}
