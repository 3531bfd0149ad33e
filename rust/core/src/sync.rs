//! Synchronisation primitives. Modules whose interleavings a test explores import them from here; that test builds the
//! modules with substitutes of the same names, whose scheduler it controls (`tests/work_model`).

pub(crate) use std::sync::atomic;
pub(crate) use std::thread;
pub(crate) use std::thread_local;
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock};
pub(crate) use tokio::runtime::Runtime;

pub(crate) use crate::scheduled;

/// A guard that keeps its lock alive: [`Mutex::lock_arc`].
pub(crate) type ArcGuard<T> = parking_lot::ArcMutexGuard<parking_lot::RawMutex, T>;

/// A runtime without tasks.
#[cfg(test)]
pub(crate) fn idle_runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.build().unwrap()
}
