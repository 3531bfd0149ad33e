//! Whether the threads that pull work keep up with it.
//!
//! Work queued while every thread is stuck in a blocking handler must get another thread immediately: a timer would
//! delay it by many times the cost of a short handler. A long queue alone is no reason once there is a thread per
//! processor: more threads would not make short handlers faster.

use std::time::Duration;

use super::pace::SHORT_TASK;

/// Threads that have all been busy for this time, each with one piece of work, are stuck.
pub(in crate::server) const STUCK: Duration = Duration::from_micros(200);
/// How often the queue is checked while work is queued, and how long work may wait for a thread being woken.
pub(in crate::server) const CHECK_EVERY: Duration = Duration::from_millis(1);
/// Longest that work stays queued while there are fewer threads than processors.
const IDLE_PROCESSOR: Duration = Duration::from_millis(10);

/// The state of a queue that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) struct Pressure {
    /// Queued items, without the one for a thread that has been woken.
    pub(in crate::server) waiting: usize,
    /// Age of the oldest of them.
    pub(in crate::server) oldest: Duration,
    /// Items that threads have taken since it was queued.
    pub(in crate::server) overtaken: u64,
    /// Threads that have taken work and not returned, and whether there are no others.
    pub(in crate::server) busy: usize,
    pub(in crate::server) all_busy: bool,
    /// Whether some are busy, and no others are free for these items: at most one, which was woken for another item.
    pub(in crate::server) none_free: bool,
    /// Time since the last of them took its work; 0 if unknown.
    pub(in crate::server) quiet: Duration,
    /// Whether there are fewer threads than processors.
    pub(in crate::server) few: bool,
}

impl Pressure {
    /// Whether the queued work needs other threads.
    pub(in crate::server) fn needs_help(&self) -> bool {
        if self.none_free && self.quiet >= STUCK || self.few && self.oldest >= IDLE_PROCESSOR {
            return true;
        }
        let patience = if self.all_busy { STUCK } else { CHECK_EVERY };
        // Threads with short handlers would have taken more items meanwhile. If none is busy, those that were woken
        // have not come.
        let busy = u32::try_from(self.busy).unwrap_or(u32::MAX).max(1);
        let overtaken = u32::try_from(self.overtaken).unwrap_or(u32::MAX);
        self.oldest >= patience
            && SHORT_TASK.saturating_mul(overtaken) < self.oldest.saturating_mul(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two threads that took work just now; one item has been queued since.
    const BUSY: Pressure = Pressure {
        waiting: 1,
        oldest: Duration::ZERO,
        overtaken: 0,
        busy: 2,
        all_busy: true,
        quiet: Duration::ZERO,
        none_free: true,
        few: false,
    };

    #[test]
    fn work_that_comes_while_all_threads_are_stuck_needs_help_at_once() {
        let stuck = Pressure {
            quiet: STUCK,
            ..BUSY
        };
        assert!(stuck.needs_help());
        let one_is_free = Pressure {
            busy: 1,
            all_busy: false,
            none_free: false,
            ..stuck
        };
        assert!(!one_is_free.needs_help(), "it has been woken");
    }

    #[test]
    fn threads_at_short_work_need_no_help_however_long_the_queue_is() {
        for millis in [0, 1, 10, 100, 1000] {
            let oldest = Duration::from_millis(millis);
            let short = Pressure {
                waiting: 100_000,
                oldest,
                overtaken: millis * 20,
                ..BUSY
            };
            assert!(!short.needs_help(), "{short:?}");
        }
    }

    #[test]
    fn threads_at_short_work_need_help_in_time_while_a_processor_has_none() {
        let few = Pressure {
            oldest: IDLE_PROCESSOR,
            overtaken: 1000,
            few: true,
            ..BUSY
        };
        assert!(few.needs_help());
        let enough = Pressure { few: false, ..few };
        assert!(!enough.needs_help());
    }

    #[test]
    fn threads_that_are_slow_need_help_although_each_gets_on() {
        let slow = Pressure {
            oldest: STUCK,
            overtaken: 3,
            ..BUSY
        };
        assert!(slow.needs_help());
        let fast = Pressure {
            overtaken: 4,
            ..slow
        };
        assert!(!fast.needs_help());
    }

    #[test]
    fn a_woken_thread_that_does_not_come_is_not_waited_for_longer_than_until_the_next_check() {
        let woken = Pressure {
            oldest: CHECK_EVERY,
            busy: 0,
            all_busy: false,
            ..BUSY
        };
        assert!(woken.needs_help());
        let soon = Pressure {
            oldest: CHECK_EVERY / 2,
            ..woken
        };
        assert!(!soon.needs_help());
    }
}
