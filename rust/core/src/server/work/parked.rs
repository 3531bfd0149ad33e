//! A thread that has nothing to do, and how it is woken.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, thread_local};

/// A thread inside [`super::WorkQueue::take`] that has nothing to do: it is parked, or runs a loop.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) thread: Thread,
    /// Set by the thread that took it off its list: a thread may also wake without a reason. Release and acquire
    /// are enough: this is one flag, and what it announces is behind the queue's lock.
    woken: AtomicBool,
    /// How it is woken while it runs a loop.
    waker: Mutex<Option<Waker>>,
}

thread_local! {
    static SELF: Arc<Parked> = Arc::new(Parked::here());
}

impl Parked {
    /// This thread, under a name of its own.
    pub(super) fn here() -> Self {
        Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// This thread as others know it.
    pub(super) fn this() -> Arc<Self> {
        SELF.with(Arc::clone)
    }

    pub(super) fn is_this(self: &Arc<Self>) -> bool {
        SELF.with(|own| Arc::ptr_eq(own, self))
    }

    /// Whether this thread runs a loop and has been woken: it comes as soon as its turn is over.
    pub(super) fn is_this_woken() -> bool {
        SELF.with(|own| own.woken.load(Ordering::Acquire))
    }

    pub(super) fn wake(&self) {
        // The flag first: a thread that was parked looks at it when it is unparked, and one that runs a loop
        // looks at it after it has left its waker.
        self.woken.store(true, Ordering::Release);
        match self.waker.lock().take() {
            Some(waker) => waker.wake(),
            None => self.thread.unpark(),
        }
    }

    pub(super) fn has_been_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Acquire)
    }

    /// Until it is woken, on a thread that runs a loop meanwhile.
    pub(super) async fn woken(&self) {
        poll_fn(|cx| {
            // Under the lock, in which `wake` takes the waker: who comes later finds it, who has come before is
            // seen.
            let waker = &mut *self.waker.lock();
            if self.has_been_woken() {
                *waker = None;
                return Poll::Ready(());
            }
            *waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// As if it had never been woken: its loop has panicked.
    pub(super) fn reset(&self) {
        self.woken.store(false, Ordering::Release);
        *self.waker.lock() = None;
    }
}
