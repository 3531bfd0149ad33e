//! A timer that is cheap to move.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a limit that has passed still waits for bytes that came before it; see [`Timer::poll_limit`].
const SHORTEST_LOOK: Duration = Duration::from_millis(1);
const LONGEST_LOOK: Duration = Duration::from_millis(10);

/// Fires at the time given in each poll.
///
/// Moving a runtime timer costs a lock and a wheel insertion, and a call moves its timeout with every byte. So it is
/// moved only to an earlier time, and rearmed if it fires too early.
pub(super) struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// A limit that was found past, and until when it still waits.
    past: Option<(Instant, Instant)>,
}

impl Timer {
    pub(super) fn new(at: Instant) -> Self {
        Self {
            sleep: Box::pin(sleep_until(at)),
            past: None,
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

    /// As [`poll_until`](Timer::poll_until), for a limit on the silence since `last`: bytes that came in time win.
    ///
    /// A process that was stopped, or a loop that was held up, may find the limit past before it learns of the bytes: a
    /// wait for events that a signal interrupts reports none. So the loop asks for them once more. That takes one turn,
    /// and if the loop is late, so are the threads that run hosted transports.
    pub(super) fn poll_limit(
        &mut self,
        cx: &mut Context<'_>,
        last: Instant,
        at: Instant,
    ) -> Poll<()> {
        let until = match self.past {
            Some((limit, until)) if limit == at => until,
            _ => {
                ready!(self.poll_until(cx, at));
                if at <= last {
                    return Poll::Ready(());
                }
                let now = Instant::now();
                let until = now + (now - at).clamp(SHORTEST_LOOK, LONGEST_LOOK);
                self.past = Some((at, until));
                // Fires only after the sockets were polled, even if `until` has passed by now.
                self.sleep.as_mut().reset(until);
                until
            }
        };
        self.poll_until(cx, until)
    }
}
