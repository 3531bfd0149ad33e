//! Memory that was freed and that the allocator keeps.
//!
//! An allocator such as glibc's seldom returns what was freed to the system. When much of what peers had yet to
//! read, or had sent, is gone, the embedder is told ([`super::Notice::Freed`]) and can make it do so: a while later, as
//! peers seldom leave alone, and so not again and again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Less than this at once is not counted: the allocator will need it again.
const COUNTED: usize = 16 * 1024;
/// Freed bytes that are worth a notice.
const MUCH: usize = 16 * 1024 * 1024;
/// How long a notice waits for more.
pub(super) const DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Freed {
    bytes: AtomicUsize,
    noticed: AtomicBool,
}

impl Freed {
    /// Counts freed bytes. True when that makes enough for a notice: once until [`Self::noticed`].
    pub(super) fn note(&self, bytes: usize) -> bool {
        bytes >= COUNTED
            && self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= MUCH
            && !self.noticed.swap(true, Ordering::Relaxed)
    }

    /// The embedder is about to be told: counting starts anew.
    pub(super) fn noticed(&self) {
        self.bytes.store(0, Ordering::Relaxed);
        self.noticed.store(false, Ordering::Relaxed);
    }
}
