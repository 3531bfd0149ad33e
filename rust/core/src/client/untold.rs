//! Failures that the sink could not take, for want of memory: every call that
//! was accepted has its end, so they are told again until it can.

use super::error::CallError;
use super::sink::{CallId, Sink};
use crate::net::foreign::TransportId;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Pause before the first repetition; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A client that stops waits this long for memory: a stop must end.
const LAST_CHANCE: Duration = Duration::from_secs(10);

struct Failure {
    call: CallId,
    error: CallError,
    transport: Option<TransportId>,
}

/// See the module's words.
#[derive(Default)]
pub(super) struct Untold {
    failures: RefCell<VecDeque<Failure>>,
    kept: Notify,
}

impl Untold {
    pub(super) fn keep(&self, call: CallId, error: CallError, transport: Option<TransportId>) {
        let failure = Failure {
            call,
            error,
            transport,
        };
        self.failures.borrow_mut().push_back(failure);
        self.kept.notify_one();
    }

    /// Tells failures whenever there are some.
    pub(super) async fn keep_telling(&self, sink: &dyn Sink) {
        loop {
            self.kept.notified().await;
            let mut pause = PAUSE;
            while !self.tell(sink) {
                tokio::time::sleep(pause).await;
                pause = (2 * pause).min(LONGEST_PAUSE);
            }
        }
    }

    /// Tells what is left when the loop is over; blocks the loop's thread.
    pub(super) fn tell_at_last(&self, sink: &dyn Sink) {
        let end = Instant::now() + LAST_CHANCE;
        while !self.tell(sink) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether all are told.
    fn tell(&self, sink: &dyn Sink) -> bool {
        loop {
            let Some(next) = self.failures.borrow_mut().pop_front() else {
                return true;
            };
            if !sink.on_failure(next.call, &next.error, next.transport) {
                self.failures.borrow_mut().push_front(next);
                return false;
            }
        }
    }
}
