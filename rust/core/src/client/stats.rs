//! Counters of a client.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of a client, readable from any thread.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections, counted from the connect on.
    pub open: AtomicU64,
    /// Idle connections in the pool.
    pub idle: AtomicU64,
    /// Accepted calls that have not ended, queued ones included.
    pub active: AtomicU64,
    /// Active calls queued for a connection.
    pub queued: AtomicU64,
    /// Total connections opened.
    pub opened: AtomicU64,
    /// Total calls accepted.
    pub calls: AtomicU64,
    /// Attempts of calls on a connection that another call used before.
    pub reused: AtomicU64,
    /// Calls repeated because a pooled connection was stale.
    pub retries: AtomicU64,
    /// Connections with rustls.
    pub tls: AtomicU64,
    /// Connections run by the embedder.
    pub hosted: AtomicU64,
    /// Response bytes held in buffers.
    pub buffered: AtomicU64,
    /// Connection attempts in progress.
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
