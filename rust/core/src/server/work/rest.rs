//! Whether threads that pull work rest: they leave it all to others, where those take any number of pieces at once.
//!
//! A worker whose handler blocks gains nothing over a virtual thread. It is woken for one piece of work, and what comes
//! until it has a processor waits to see whether it can take more. So workers rest once their work has been slow so
//! often in a row that a few slow pieces among short ones are no explanation. After a while they try again.

use std::time::Duration;

use super::pressure::STUCK;
use crate::sync::Instant;

/// Slow pieces in a row, of all threads together.
const IN_A_ROW: u32 = 8;
const TIME: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Rest {
    slow: u32,
    until: Option<Instant>,
}

impl Rest {
    /// A thread has done a piece of work, in this time.
    pub(super) fn note(&mut self, took: Duration) {
        if took < STUCK {
            *self = Self::default();
            return;
        }
        self.slow = self.slow.saturating_add(1);
        if self.slow >= IN_A_ROW {
            self.until = Some(Instant::now() + TIME);
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(works: impl IntoIterator<Item = Duration>) -> Rest {
        let mut rest = Rest::default();
        works.into_iter().for_each(|took| rest.note(took));
        rest
    }

    #[test]
    fn threads_rest_after_nothing_but_slow_work() {
        let slow = std::iter::repeat_n(STUCK, IN_A_ROW as usize);
        assert!(!after(slow.clone().skip(1)).is_on());
        assert!(after(slow).is_on());
    }

    #[test]
    fn one_short_piece_among_slow_ones_keeps_threads_at_work_and_ends_their_rest() {
        let mut rest = after((1..100).map(|n| match n % IN_A_ROW {
            0 => Duration::ZERO,
            _ => STUCK,
        }));
        assert!(!rest.is_on());
        for _ in 0..IN_A_ROW {
            rest.note(STUCK);
        }
        assert!(rest.is_on());
        rest.note(Duration::ZERO);
        assert!(!rest.is_on());
    }

    #[test]
    fn threads_that_have_rested_try_again_and_rest_again_after_one_slow_piece() {
        let mut rest = after(std::iter::repeat_n(STUCK, IN_A_ROW as usize));
        rest.until = Some(Instant::now());
        assert!(!rest.is_on());
        rest.note(STUCK);
        assert!(rest.is_on());
    }
}
