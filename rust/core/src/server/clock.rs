//! The coarse clock of a server's time limits, cheap enough to be read for each request.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How often it is advanced.
pub(super) const TICK: Duration = Duration::from_millis(50);
/// The largest step by which it is advanced.
const MOST: Duration = Duration::from_secs(1);

/// Milliseconds as seen by the sweep, which advances them.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: AtomicU32,
    /// There are connections to check.
    wanted: Notify,
}

impl Clock {
    pub(super) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// The first connection has been accepted.
    pub(super) fn start(&self) {
        self.wanted.notify_one();
    }

    /// Waits for [`Self::start`].
    pub(super) async fn started(&self) {
        self.wanted.notified().await;
    }

    /// Counts whole milliseconds, and returns the rest: left out, it would make the clock slow.
    #[must_use]
    pub(super) fn advance(&self, by: Duration) -> Duration {
        let msecs = by.min(MOST).as_millis() as u32;
        self.now.fetch_add(msecs, Ordering::Relaxed);
        Duration::from_nanos((by.subsec_nanos() % 1_000_000).into())
    }

    /// Whether more than `limit` has passed since `since`, which may have been noted up to a tick late.
    pub(super) fn is_past(&self, since: u32, limit: Duration) -> bool {
        let passed = self.now().wrapping_sub(since);
        Duration::from_millis(passed.into()) > limit + TICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_past_only_when_it_is_so_for_certain() {
        let clock = Clock::default();
        clock.now.store(u32::MAX - 10, Ordering::Relaxed); // It may overflow meanwhile.
        let since = clock.now();
        let limit = Duration::from_millis(100);
        assert!(clock.advance(limit).is_zero());
        assert!(
            !clock.is_past(since, limit),
            "it was noted up to a tick late"
        );
        assert!(clock.advance(TICK).is_zero());
        assert!(!clock.is_past(since, limit));
        assert!(clock.advance(Duration::from_millis(1)).is_zero());
        assert!(clock.is_past(since, limit));
    }

    #[test]
    fn fractions_of_a_millisecond_add_up() {
        let clock = Clock::default();
        let mut rest = Duration::ZERO;
        for _ in 0..1000 {
            rest = clock.advance(TICK + Duration::from_micros(999) + rest);
        }
        assert_eq!(clock.now(), 50_999);
        assert_eq!(rest, Duration::ZERO);
    }

    #[test]
    fn time_in_which_nothing_ran_does_not_count() {
        let clock = Clock::default();
        assert!(clock.advance(Duration::from_secs(3600)).is_zero());
        assert!(!clock.is_past(0, MOST));
    }
}
