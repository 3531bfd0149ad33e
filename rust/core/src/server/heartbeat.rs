//! Heartbeats of a stream of server-sent events: a comment after silence.
//!
//! Proxies cut a response that sends nothing for a minute or so, and a peer that vanished shows itself only when
//! something is sent. The loop sends them, without a thread and without user code.

use std::time::Duration;

use tokio::time::Instant;

/// A comment, which clients ignore, and the end of an event.
pub const HEARTBEAT: &[u8] = b":\n\n";

/// When the next one is due.
#[derive(Debug)]
pub(super) struct Heartbeat {
    interval: Duration,
    pub(super) due: Instant,
}

impl Heartbeat {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            due: Instant::now() + interval,
        }
    }

    pub(super) fn postpone(&mut self) {
        self.due = Instant::now() + self.interval;
    }
}
