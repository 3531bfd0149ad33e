//! A server's counters on its request path: nearly one set per thread, added up when they are read.
//!
//! The cache line of a counter shared by all threads would move between cores with each request. So there are
//! several sets of counters, each on cache lines of its own, and a thread always uses the same one. Reading adds them
//! up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{request, step};

/// Most sets of counters.
const MOST_SETS: usize = 64;
/// Buckets per doubling of a duration: a bucket's bounds differ by at most a quarter. `statistics.clj`, which computes
/// where they end, has the same number.
const STEPS: usize = 4;
/// Buckets of a [`Histogram`]. The last ends at 2^32 us.
pub const BUCKETS: usize = (32 - 2) * STEPS + STEPS;

thread_local! {
    /// This thread's number, which selects its set.
    static NUMBER: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
    /// Bytes that this thread has written to sockets and not yet counted.
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

/// Durations, counted in buckets.
pub type Histogram = [u64; BUCKETS];

/// The bucket of a duration in microseconds.
pub(super) fn bucket(micros: u64) -> usize {
    let micros = micros.min(u64::from(u32::MAX)) as usize;
    if micros < STEPS {
        return micros;
    }
    let doublings = micros.ilog2() as usize - STEPS.ilog2() as usize;
    doublings * STEPS + (micros >> doublings)
}

/// When something happened: microseconds, nearly. They wrap around after 73 minutes, which only a handler that took
/// longer would show, as a shorter time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moment(u32);

impl Moment {
    /// From nanoseconds of [`request::clock`].
    pub(super) fn of(nanos: u64) -> Self {
        Self((nanos >> 10) as u32)
    }

    fn micros_since(self) -> u64 {
        let now = Self::of(request::clock_at(step::now()));
        (u64::from(now.0.wrapping_sub(self.0)) << 10) / 1000
    }
}

/// Counters of threads with the same number modulo the number of sets. Two cache lines are often fetched together.
#[derive(Debug)]
#[repr(align(128))]
struct Set {
    requests: AtomicU64,
    /// Of responses, by the first digit of their status, from 1 on.
    statuses: [AtomicU64; 5],
    received: AtomicU64,
    written: AtomicU64,
    micros: AtomicU64,
    handler: [AtomicU64; BUCKETS],
    whole: [AtomicU64; BUCKETS],
}

impl Default for Set {
    fn default() -> Self {
        let zeros = || [const { AtomicU64::new(0) }; BUCKETS];
        Self {
            requests: AtomicU64::default(),
            statuses: Default::default(),
            received: AtomicU64::default(),
            written: AtomicU64::default(),
            micros: AtomicU64::default(),
            handler: zeros(),
            whole: zeros(),
        }
    }
}

/// All sets of a server.
#[derive(Debug)]
pub(super) struct Tally {
    /// A power of two.
    sets: Box<[Set]>,
    /// Rare enough to be shared.
    pub(super) rejected: AtomicU64,
}

impl Default for Tally {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = (2 * cores).next_power_of_two().min(MOST_SETS);
        Self {
            sets: (0..count).map(|_| Set::default()).collect(),
            rejected: AtomicU64::new(0),
        }
    }
}

fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// This thread has written bytes to a socket. [`Tally::note_written`] counts them.
pub(super) fn written(bytes: usize) {
    WRITTEN.set(WRITTEN.get() + bytes as u64);
}

impl Tally {
    fn set(&self) -> &Set {
        &self.sets[NUMBER.with(|number| *number) & (self.sets.len() - 1)]
    }

    pub(super) fn request(&self) {
        add(&self.set().requests, 1);
    }

    pub(super) fn received(&self, bytes: usize) {
        add(&self.set().received, bytes as u64);
    }

    /// Counts what this thread has written since it was last called: the socket does not know its server.
    pub(super) fn note_written(&self) {
        let bytes = WRITTEN.take();
        if bytes > 0 {
            add(&self.set().written, bytes);
        }
    }

    /// A response has a head: `since` is when its request had one. `whole`: its body is written or queued, too.
    pub(super) fn head(&self, status: u16, since: Moment, whole: bool) {
        let set = self.set();
        let micros = since.micros_since();
        set.status(status);
        add(&set.handler[bucket(micros)], 1);
        if whole {
            set.whole(micros);
        }
    }

    /// A response without a request that had a head.
    pub(super) fn status(&self, status: u16) {
        self.set().status(status);
    }

    /// The rest of a response of known length is written or queued.
    pub(super) fn whole(&self, since: Moment) {
        self.set().whole(since.micros_since());
    }

    fn sum(&self, counter: impl Fn(&Set) -> &AtomicU64) -> u64 {
        let values = self
            .sets
            .iter()
            .map(|set| counter(set).load(Ordering::Relaxed));
        values.fold(0, u64::wrapping_add)
    }

    pub(super) fn totals(&self) -> Totals {
        Totals {
            requests: self.sum(|set| &set.requests),
            statuses: std::array::from_fn(|i| self.sum(|set| &set.statuses[i])),
            received: self.sum(|set| &set.received),
            written: self.sum(|set| &set.written),
            micros: self.sum(|set| &set.micros),
            handler: std::array::from_fn(|i| self.sum(|set| &set.handler[i])),
            whole: std::array::from_fn(|i| self.sum(|set| &set.whole[i])),
            rejected: self.rejected.load(Ordering::Relaxed),
        }
    }
}

impl Set {
    fn status(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, 5);
        add(&self.statuses[class - 1], 1);
    }

    fn whole(&self, micros: u64) {
        add(&self.whole[bucket(micros)], 1);
        add(&self.micros, micros);
    }
}

/// Sums since a server was bound.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Requests whose head and body have arrived, or that broke a rule, or whose connection ended within their body.
    pub requests: u64,
    /// Responses that have a head, by the first digit of their status, from 1 on; 6xx to 9xx count as 5xx.
    pub statuses: [u64; 5],
    /// Bytes read from sockets.
    pub received: u64,
    /// Bytes that sockets have accepted.
    pub written: u64,
    /// Sum of the durations in `whole`.
    pub micros: u64,
    /// From the end of a request's head to the head of its response.
    pub handler: Histogram,
    /// From there to the end of a response of known length, when its last byte is written or queued.
    pub whole: Histogram,
    /// Requests that got a 503 because the queue was full.
    pub rejected: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps_and_are_a_quarter_wide_at_most() {
        let quarters = (2..32).flat_map(|doubling| (4..8).map(move |n| n << (doubling - 2)));
        let starts: Vec<u64> = (0..4).chain(quarters).collect();
        assert_eq!(starts.len(), BUCKETS);
        for (i, &start) in starts.iter().enumerate() {
            let last = starts.get(i + 1).unwrap_or(&(1 << 32)) - 1;
            assert_eq!((bucket(start), bucket(last)), (i, i), "{start} to {last}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn threads_lose_no_count() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        tally.request();
                        tally.head(404, Moment::of(request::clock()), true);
                        written(3);
                        tally.note_written();
                    }
                });
            }
        });
        let totals = tally.totals();
        assert_eq!((totals.requests, totals.written), (8000, 24000));
        assert_eq!(totals.statuses, [0, 0, 0, 8000, 0]);
        assert_eq!(totals.whole.iter().sum::<u64>(), 8000);
        assert_eq!(totals.handler.iter().sum::<u64>(), 8000);
    }

    #[test]
    fn a_moment_before_the_clock_wraps_around_is_not_long_ago() {
        let just_now = Moment(Moment::of(request::clock()).0.wrapping_sub(2000));
        assert!((2000..3_000_000).contains(&just_now.micros_since()));
    }
}
