//! Counters of a client.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a client; all may be read from any thread.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections, from the connect on.
    pub open: AtomicU64,
    /// Those that wait in the pool.
    pub idle: AtomicU64,
    /// Accepted calls without their end.
    pub active: AtomicU64,
    /// Those of them that wait for a connection.
    pub queued: AtomicU64,
    /// Connections ever opened.
    pub opened: AtomicU64,
    /// Calls ever accepted.
    pub calls: AtomicU64,
    /// Calls on a connection that another call used before.
    pub reused: AtomicU64,
    /// Repeats because a pooled connection was stale.
    pub retries: AtomicU64,
    /// Connections that rustls secured.
    pub tls: AtomicU64,
    /// Connections that the embedder ran.
    pub hosted: AtomicU64,
    /// Response bytes held in buffers.
    pub buffered: AtomicU64,
    /// Connects under way.
    pub connecting: AtomicU64,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64, n: u64) {
        counter.fetch_sub(n, Ordering::Relaxed);
    }
}
