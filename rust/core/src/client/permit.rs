//! The pool shared by the loop's tasks, and the right to a connection.

use super::key::PoolKey;
use super::pool::Pool;
use super::stats::Stats;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::Notify;

/// The pool, with its statistics kept up to date.
pub(super) struct SharedPool {
    pool: Mutex<Pool>,
    stats: Arc<Stats>,
    /// A connection was closed: queued calls may have room.
    room: Notify,
}

impl SharedPool {
    pub(super) fn new(pool: Pool, stats: Arc<Stats>) -> Arc<Self> {
        Arc::new(Self {
            pool: Mutex::new(pool),
            stats,
            room: Notify::new(),
        })
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pool = self.pool.lock();
        let result = act(&mut pool);
        self.stats.idle.store(pool.idle() as u64, Ordering::Relaxed);
        self.stats
            .queued
            .store(pool.queued() as u64, Ordering::Relaxed);
        result
    }

    pub(super) async fn room(&self) {
        self.room.notified().await;
    }
}

/// The right to one connection at a time, counted until the last one is closed.
pub(super) struct Permit {
    pool: Arc<SharedPool>,
    pub key: Arc<PoolKey>,
}

impl Permit {
    /// A permit for a connection that [`Pool::reserve`] has allowed.
    pub(super) fn new(pool: Arc<SharedPool>, key: Arc<PoolKey>) -> Self {
        Stats::add(&pool.stats.open, 1);
        Self { pool, key }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.pool.with(|pool| pool.release(&self.key));
        Stats::sub(&self.pool.stats.open, 1);
        self.pool.room.notify_one();
    }
}
