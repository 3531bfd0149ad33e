//! An idle thread, and how it is woken.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{Mutex, thread_local};

/// An idle thread inside [`super::WorkQueue::take`]: it is parked, or runs a loop.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) thread: Thread,
    /// Set by the thread that took it off its list, because wake-ups may be spurious. Release and acquire are enough:
    /// it is a single flag, and the state it announces is behind the queue's lock.
    woken: AtomicBool,
    /// Wakes it while it runs a loop.
    waker: Mutex<Option<Waker>>,
}

thread_local! {
    static SELF: Arc<Parked> = Arc::new(Parked::here());
    /// The queue for which this thread ran a loop last; an address.
    static LEADS_FOR: Cell<usize> = const { Cell::new(0) };
}

impl Parked {
    /// A new entry for this thread, apart from the shared one.
    pub(super) fn here() -> Self {
        Self {
            thread: thread::current(),
            woken: AtomicBool::new(false),
            waker: Mutex::new(None),
        }
    }

    /// This thread's shared entry.
    pub(super) fn this() -> Arc<Self> {
        SELF.with(Arc::clone)
    }

    pub(super) fn is_this(self: &Arc<Self>) -> bool {
        SELF.with(|own| Arc::ptr_eq(own, self))
    }

    /// This thread begins to run a loop for this queue.
    pub(super) fn begin_leading(queue: usize) {
        LEADS_FOR.with(|leads_for| leads_for.set(queue));
    }

    /// Whether this thread runs a loop for this queue and has been woken: it looks for work there once the current turn
    /// of its loop ends. A turn may bring work for another team too, such as closings by a time limit.
    pub(super) fn is_this_woken(queue: usize) -> bool {
        LEADS_FOR.with(Cell::get) == queue && SELF.with(|own| own.woken.load(Ordering::Acquire))
    }

    pub(super) fn wake(&self) {
        // The flag first: a parked thread checks it when it is unparked, and one that runs a loop checks it under the
        // waker's lock.
        self.woken.store(true, Ordering::Release);
        match self.waker.lock().take() {
            Some(waker) => waker.wake(),
            None => self.thread.unpark(),
        }
    }

    pub(super) fn has_been_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Acquire)
    }

    /// Completes when this thread, which runs a loop meanwhile, is woken.
    pub(super) async fn woken(&self) {
        poll_fn(|cx| {
            // Under the lock in which `wake` takes the waker: a later `wake` finds the waker, an earlier one has set
            // the flag.
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

    /// Clears any wake-up, after its loop has panicked.
    pub(super) fn reset(&self) {
        self.woken.store(false, Ordering::Release);
        *self.waker.lock() = None;
    }
}
