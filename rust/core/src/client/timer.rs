//! A timer that is cheap to move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};

/// Fires at the time given in each poll.
///
/// Moving a runtime timer costs a lock and a wheel insertion, and a call moves its timeout with every byte. So it is
/// moved only to an earlier time, and rearmed if it fires too early.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
}

impl Timer {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(at)),
        }
    }

    /// When it wakes the task that has polled it, or earlier.
    pub(super) fn deadline(&self) -> Instant {
        self.sleep.deadline()
    }

    /// Ready once `at` has passed.
    pub(super) fn poll_until(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        if at < self.sleep.deadline() {
            self.sleep.as_mut().reset(at);
        }
        while self.sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= at {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(at);
        }
        Poll::Pending
    }
}
