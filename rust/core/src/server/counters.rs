//! What a server has counted since it was bound.

use std::sync::atomic::{AtomicU64, Ordering};

use super::limits::Timeout;

/// Counts of one server.
#[derive(Debug, Default)]
pub(super) struct Counters {
    timeouts: [AtomicU64; Timeout::ALL.len()],
}

impl Counters {
    pub(super) fn note_timeout(&self, timeout: Timeout) {
        self.timeouts[timeout as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often this time limit has ended a request or connection.
    pub(super) fn timeouts(&self, timeout: Timeout) -> u64 {
        self.timeouts[timeout as usize].load(Ordering::Relaxed)
    }
}
