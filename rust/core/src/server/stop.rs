//! How a server stops: which connections it waits for, and which it closes.
//!
//! [`Server::drain`] stops accepting. Requests on open connections are still served, with `Connection: Close`, and the
//! embedder polls [`Server::unfinished`] for connections worth waiting for. An idle connection is not closed
//! immediately: a request may be on its way to it. [`Server::close`] closes the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use super::connection::{Conn, State};
use super::phase::{Phase, Responding};
use super::types::Stage;

/// A request that has begun to arrive gets this many times the grace of an idle connection.
const BEGUN: u32 = 4;

impl Server {
    /// Stops accepting, after taking the connections that the kernel has accepted, and closes WebSockets.
    pub fn drain(&self) {
        self.shared.stop.draining.store(true, Ordering::SeqCst);
        self.listener.lock().take();
        self.advance(Stage::Draining);
        for conn in self.shared.all() {
            conn.go_away();
        }
    }

    /// Connections that a draining server must still wait for: those with an incomplete response, or one not yet
    /// written; not channels, which have no end. To be called repeatedly: it closes idle connections that have been
    /// silent for `grace` since a first call. Until then they count, and one with a partial request counts for four
    /// times as long.
    pub fn unfinished(&self, grace: Duration) -> usize {
        let now = Instant::now();
        let accepting = self.shared.stop.accepting.load(Ordering::SeqCst);
        let conns = self.shared.all();
        let unfinished = conns.iter().filter(|conn| conn.is_unfinished(now, grace));
        accepting + unfinished.count()
    }

    /// Closes every connection and ends the loops.
    pub fn close(&self) {
        self.drain();
        for conn in self.shared.all() {
            conn.cut();
        }
        self.shared.queue.shut();
        self.advance(Stage::Closed);
    }

    /// Connections with responses not yet written; not channels, which have no end.
    pub fn unsent(&self) -> usize {
        let conns = self.shared.all();
        conns.iter().filter(|conn| conn.lock().is_unsent()).count()
    }
}

impl Conn {
    fn is_unfinished(self: &Arc<Self>, now: Instant, grace: Duration) -> bool {
        let mut state = self.lock();
        let held = state.channel.as_ref().is_some_and(|channel| channel.held);
        match state.phase {
            Phase::Http(_, Responding::Idle) => {
                let silent = now - *state.silent_since.get_or_insert(now);
                if state.is_idle() && silent >= grace {
                    state.lost(self);
                    return false;
                }
                state.is_unsent() || silent < grace * if state.is_idle() { 1 } else { BEGUN }
            }
            Phase::Http(..) => !held,
            _ => state.is_unsent(),
        }
    }

    /// Closes the connection, unless it only waits for its peer to read.
    fn cut(self: &Arc<Self>) {
        if self.go_away() {
            return;
        }
        let mut state = self.lock();
        if !matches!(state.phase, Phase::Lingering) {
            state.lost(self);
        }
    }
}

impl State {
    /// No byte of a request has arrived, not even in the kernel, and nothing is left to send.
    fn is_idle(&self) -> bool {
        self.inbound.is_empty() && self.transport.all_is_written() && !self.transport.has_input()
    }

    /// Whether a response, not a channel's, is still to be written.
    fn is_unsent(&self) -> bool {
        !self.transport.all_is_written() && self.channel.is_none()
    }
}
