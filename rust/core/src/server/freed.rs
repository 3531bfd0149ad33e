//! Memory that was freed and that the allocator keeps.
//!
//! An allocator such as glibc's seldom returns what was freed to the system. When much of what peers had yet to
//! read, or had sent, is gone, the embedder is told ([`Notice::Freed`]) and can make it do so: a while later, as
//! peers seldom leave alone, and so not again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Deferred, Notice, Shared};

/// Less than this at once is not counted: the allocator will need it again.
const COUNTED: usize = 16 * 1024;
/// So much is worth a notice.
const MUCH: usize = 16 * 1024 * 1024;
/// How long a notice waits for more.
const DELAY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Freed {
    bytes: AtomicUsize,
    noticed: AtomicBool,
}

impl Shared {
    /// Memory of so many bytes is free now, or soon will be. Any lock may be held.
    pub(super) fn note_freed(&self, bytes: usize) {
        if bytes < COUNTED {
            return;
        }
        let freed = &self.freed;
        if freed.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= MUCH
            && !freed.noticed.swap(true, Ordering::Relaxed)
        {
            self.defer(Deferred::Freed);
        }
    }

    /// Tells the embedder after a while. On a loop, or when the last one has ended.
    pub(super) fn notice_freed(self: &Arc<Self>) {
        let shared = self.clone();
        let tell = move || {
            shared.freed.bytes.store(0, Ordering::Relaxed);
            shared.freed.noticed.store(false, Ordering::Relaxed);
            shared.sink.on_notice(Notice::Freed);
        };
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn(async move {
                tokio::time::sleep(DELAY).await;
                tell();
            })),
            Err(_) => tell(),
        }
    }
}
