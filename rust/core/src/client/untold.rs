//! Failures that the sink could not accept for lack of memory. Every accepted call must be told its end, so they are
//! reported again until the sink accepts them.

use super::error::CallError;
use super::sink::{CallId, Sink};
use crate::net::hosted::TransportId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Pause before the first retry; it doubles each time.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A stopping client waits this long for memory: a stop must end.
const LAST_CHANCE: Duration = Duration::from_secs(10);

struct Failure {
    call: CallId,
    error: CallError,
    transport: Option<TransportId>,
}

/// See the module docs.
#[derive(Default)]
pub(super) struct Untold {
    failures: Mutex<VecDeque<Failure>>,
    kept: Notify,
}

impl Untold {
    pub(super) fn keep(&self, call: CallId, error: CallError, transport: Option<TransportId>) {
        let failure = Failure {
            call,
            error,
            transport,
        };
        self.failures.lock().push_back(failure);
        self.kept.notify_one();
    }

    /// Reports failures whenever there are any.
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

    /// Reports the rest when the loop is over; blocks the loop's thread.
    pub(super) fn tell_at_last(&self, sink: &dyn Sink) {
        let end = Instant::now() + LAST_CHANCE;
        while !self.tell(sink) && Instant::now() < end {
            std::thread::sleep(PAUSE);
        }
    }

    /// Reports failures; returns whether all were accepted.
    fn tell(&self, sink: &dyn Sink) -> bool {
        loop {
            let Some(next) = self.failures.lock().pop_front() else {
                return true;
            };
            if !sink.on_failure(next.call, &next.error, next.transport) {
                self.failures.lock().push_front(next);
                return false;
            }
        }
    }
}
