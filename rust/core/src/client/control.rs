//! The state of a call in progress that other threads may change.

use super::error::{CallError, ErrorKind};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

/// How other threads control a call in progress: through commands to its loop.
#[derive(Default)]
pub(super) struct Control {
    pub cancelled: AtomicBool,
    pub source_failed: AtomicBool,
    /// Bytes that may still be handed out; below 0 after a piece exceeded them.
    pub credit: AtomicI64,
    pub upload: Mutex<VecDeque<(Bytes, bool)>>,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock();
        match waker.as_mut() {
            Some(old) => old.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    /// Has `task` woken from now on; gives it back if there is a reason to wake it now.
    pub(super) fn adopt(&self, task: Waker) -> Option<Waker> {
        let mut waker = self.waker.lock();
        // A cancel sets this first, and then asks for the lock to wake the task.
        if self.broken().is_err() {
            return Some(task);
        }
        *waker = Some(task);
        None
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the call was ended from outside.
    pub(super) fn broken(&self) -> Result<(), CallError> {
        if self.cancelled.load(Relaxed) {
            return Err(CallError::cancelled());
        }
        if self.source_failed.load(Relaxed) {
            return Err(CallError::new(
                ErrorKind::SourceFailed,
                "source of the request body failed",
            ));
        }
        Ok(())
    }

    pub(super) fn poll_broken(&self, cx: &Context<'_>) -> Poll<CallError> {
        self.wait(cx);
        match self.broken() {
            Err(error) => Poll::Ready(error),
            Ok(()) => Poll::Pending,
        }
    }
}
