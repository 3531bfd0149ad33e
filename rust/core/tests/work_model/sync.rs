//! The names of the crate's `sync`, for threads whose every step the model's scheduler decides on.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use shuttle::sync::atomic;
pub(crate) use shuttle::thread_local;

pub(crate) use crate::server::Runtime;

pub(crate) fn idle_runtime() -> Runtime {
    Runtime::idle()
}

/// Time passes in leaps, when it is asked for: each may or may not be longer than a loop may stand still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

std::thread_local! {
    /// All threads of the model take turns on one of the system.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

impl Instant {
    pub(crate) fn now() -> Self {
        let leap = match shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..4) {
            0 => Duration::from_millis(3),
            _ => Duration::from_micros(10),
        };
        CLOCK.set(CLOCK.get() + leap);
        Self(CLOCK.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().saturating_duration_since(self)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

pub(crate) mod thread {
    use std::time::Duration;

    pub(crate) use shuttle::thread::{Thread, current, park, yield_now};

    /// More than the model's threads are there, so that one yields before it is parked.
    pub(crate) fn available_parallelism() -> std::io::Result<std::num::NonZero<usize>> {
        Ok(std::num::NonZero::<usize>::MIN)
    }

    /// A short time may pass without a token. A long one never does: what waits for it to mend something lost
    /// shall be found.
    pub(crate) fn park_timeout(time: Duration) {
        match time < Duration::from_millis(100) {
            true => yield_now(),
            false => park(),
        }
    }
}

/// Threads of the model may be said to be anything at any time.
pub(crate) mod scheduled {
    use std::time::Duration;

    pub(crate) type ThreadId = u32;

    pub(crate) struct Schedule {
        pub(crate) worked: Duration,
        pub(crate) runnable: bool,
    }

    pub(crate) fn this() -> ThreadId {
        1
    }

    pub(crate) fn of(_: ThreadId) -> Option<Schedule> {
        let mut dice = shuttle::rand::thread_rng();
        let mut any = |to| shuttle::rand::Rng::gen_range(&mut dice, 0..to);
        Some(Schedule {
            worked: Duration::from_millis(any(3)),
            runnable: any(2) == 0,
        })
    }
}

/// How often locks of the room were taken, and how often by another thread than the time before: then the lock, and
/// what is in it, come from another core's cache. A counter of readers is written as a lock is.
pub(crate) mod taken {
    use std::cell::{Cell, RefCell};
    use std::collections::HashMap;

    use shuttle::thread::{ThreadId, current};

    std::thread_local! {
        static COUNTS: Cell<(u64, u64)> = const { Cell::new((0, 0)) };
        static LAST: RefCell<HashMap<usize, ThreadId>> = RefCell::default();
    }

    pub(super) fn note<L>(lock: &L) {
        let (this, lock) = (current().id(), std::ptr::from_ref(lock).addr());
        let last = LAST.with_borrow_mut(|last| last.insert(lock, this));
        let (taken, moved) = COUNTS.get();
        COUNTS.set((taken + 1, moved + u64::from(last != Some(this))));
    }

    /// Since the last call.
    pub(crate) fn counts() -> (u64, u64) {
        LAST.take();
        COUNTS.take()
    }
}

/// What is in a lock; not there while an [`ArcGuard`] has it.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    value: shuttle::sync::Mutex<Option<T>>,
    back: shuttle::sync::Condvar,
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: shuttle::sync::Mutex::new(Some(value)),
            back: shuttle::sync::Condvar::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let mut value = self.value.lock().unwrap();
        while value.is_none() {
            value = self.back.wait(value).unwrap();
        }
        taken::note(self);
        MutexGuard(value)
    }

    pub(crate) fn lock_arc(self: &Arc<Self>) -> ArcGuard<T> {
        let value = self.lock().0.take();
        ArcGuard(self.clone(), value)
    }

    pub(crate) fn try_lock_arc(self: &Arc<Self>) -> Option<ArcGuard<T>> {
        let value = self.value.try_lock().ok()?.take()?;
        taken::note(&**self);
        Some(ArcGuard(self.clone(), Some(value)))
    }
}

pub(crate) struct MutexGuard<'a, T>(shuttle::sync::MutexGuard<'a, Option<T>>);

impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().unwrap()
    }
}

impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().unwrap()
    }
}

pub(crate) struct ArcGuard<T>(Arc<Mutex<T>>, Option<T>);

impl<T> std::ops::Deref for ArcGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.1.as_ref().unwrap()
    }
}

impl<T> std::ops::DerefMut for ArcGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.1.as_mut().unwrap()
    }
}

impl<T> Drop for ArcGuard<T> {
    fn drop(&mut self) {
        *self.0.value.lock().unwrap() = self.1.take();
        self.0.back.notify_one();
    }
}

#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        taken::note(self);
        self.0.read().unwrap()
    }

    pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}
