//! Freed memory that the allocator keeps.
//!
//! An allocator such as glibc's seldom returns freed memory to the system. When many bytes of queued output or received
//! input have been freed, the embedder is told ([`super::Notice::Freed`]) and can make it do so. The notice is delayed,
//! because peers often disconnect together, and one notice is enough.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Smaller amounts are not counted: the allocator will reuse them.
const COUNTED: usize = 16 * 1024;
/// Freed bytes that are worth a notice.
const MUCH: usize = 16 * 1024 * 1024;
/// Delay of a notice, so that it covers memory freed soon after.
pub(super) const DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Freed {
    bytes: AtomicUsize,
    noticed: AtomicBool,
}

impl Freed {
    /// Counts freed bytes. True when they suffice for a notice, once until [`Self::noticed`].
    pub(super) fn note(&self, bytes: usize) -> bool {
        bytes >= COUNTED
            && self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= MUCH
            && !self.noticed.swap(true, Ordering::Relaxed)
    }

    /// The embedder is about to be told: counting starts over.
    pub(super) fn noticed(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.noticed.store(false, Ordering::Relaxed);
    }
}
