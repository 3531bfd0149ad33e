//! Limits how often a lasting condition is reported.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Lets one report through per second.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Whether to report now. If so, the next second begins.
    pub(super) fn take_due(&self) -> bool {
        let mut last = self.last.lock();
        let now = Instant::now();
        let due = last.is_none_or(|last| now - last >= Duration::from_secs(1));
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_reported_once_a_second() {
        let throttle = Throttle::default();
        let began = Instant::now();
        let mut reports = 0;
        while reports < 2 {
            reports += u32::from(throttle.take_due());
        }
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
}
