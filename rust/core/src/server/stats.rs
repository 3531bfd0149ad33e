//! A server's statistics: [`Totals`] of its request path, and the current state of its connections and queue.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Server;
use super::limits::Timeout;
use super::phase::Phase;
use super::tally::Totals;
use super::tls::Tls;

/// Totals since a server was bound, and its current state.
#[derive(Debug, Clone)]
pub struct Stats {
    /// Sums since it was bound.
    pub totals: Totals,
    /// Connections accepted so far, those that were refused included.
    pub accepted: u64,
    /// Open connections.
    pub open: usize,
    /// Those that are WebSockets.
    pub websockets: usize,
    /// Those with a request that has no complete response yet.
    pub active: usize,
    /// Bytes queued for peers.
    pub pending: u64,
    /// Bytes of requests that have not been handed over.
    pub buffered: u64,
    /// Pieces of work in the queue.
    pub waiting: usize,
    /// The age of the oldest.
    pub oldest: Duration,
    /// How often each of [`Timeout::ALL`] has ended a request or connection.
    pub timeouts: [u64; Timeout::ALL.len()],
    /// Bytes of buffers for all of these, in our own memory.
    pub held: u64,
    /// Threads that take work.
    pub threads: usize,
    /// Connections with TLS.
    pub tls: usize,
    /// Connections that were closed on arrival because their address had reached its limit.
    pub refused: u64,
    /// TLS handshakes: completed, those of them that resumed a session, failed.
    pub handshakes: [u64; 3],
    /// Records for the access log: all, and those of them that were lost.
    pub logged: [u64; 2],
}

impl Server {
    /// Statistics. Takes the lock of each connection for a moment: 100,000 connections need some 20 ms.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let (waiting, oldest, threads) = shared.teams.load();
        let mut stats = Stats {
            totals: shared.tally.totals(),
            accepted: shared.accepted.load(Ordering::Relaxed),
            open: 0,
            websockets: 0,
            active: 0,
            pending: 0,
            buffered: 0,
            held: shared.budget.held(),
            waiting,
            oldest,
            timeouts: Timeout::ALL.map(|timeout| shared.counters.timeouts(timeout)),
            threads,
            tls: 0,
            refused: shared.admission.refused(),
            handshakes: shared.tls.settings.handshakes.counts(),
            logged: shared.access.as_ref().map_or([0; 2], |log| log.counts()),
        };
        for conn in shared.all() {
            let state = conn.lock();
            match state.phase {
                Phase::Closed => continue,
                Phase::WebSocket(_) => stats.websockets += 1,
                _ if state.phase.owes_response() => stats.active += 1,
                _ => {}
            }
            stats.open += 1;
            stats.tls += usize::from(state.transport.tls().and_then(Tls::version).is_some());
            stats.pending += state.transport.pending() as u64;
            stats.buffered += state.inbound.held() as u64;
        }
        stats
    }
}
