//! One reading of the clock for all that a response needs: its date, how long its request took, and when the next
//! request, which may be here already, arrived. Each reading is a noticeable part of what a pipelined request costs.

use std::cell::Cell;
use std::marker::PhantomData;
use std::time::Instant;

thread_local! {
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// While this lives, time stands still for its thread: for a few microseconds of work that does not wait.
pub(super) struct Step {
    before: Option<Instant>,
    /// It belongs to its thread.
    _here: PhantomData<*const ()>,
}

impl Step {
    pub(super) fn begin() -> Self {
        Self {
            before: NOW.replace(Some(Instant::now())),
            _here: PhantomData,
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        NOW.set(self.before);
    }
}

/// The time of this thread's step, or of now.
pub(super) fn now() -> Instant {
    NOW.get().unwrap_or_else(Instant::now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_stands_still_within_a_step_and_goes_on_after_it() {
        let step = Step::begin();
        let begun = now();
        std::thread::sleep(Duration::from_millis(1));
        assert_eq!(now(), begun);
        drop(step);
        assert!(now() >= begun + Duration::from_millis(1));
    }
}
