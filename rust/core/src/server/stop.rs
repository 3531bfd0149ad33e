//! How a server stops: what it still waits for, and what it cuts.
//!
//! [`Server::drain`] ends accepting. What arrives on open connections is served from then on with
//! `Connection: Close`, and the embedder asks [`Server::unfinished`] from time to time whether there is anything to
//! wait for. An idle connection is not cut at once: a request may be on its way to it.
//! [`Server::close`] cuts what is left.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use super::connection::{Conn, State};
use super::phase::{Phase, Responding};
use super::types::Stage;

/// How many times as long as one that may come a request gets that has begun to arrive.
const BEGUN: u32 = 4;

impl Server {
    /// Stops accepting, once the connections that the kernel has accepted are taken, and closes WebSockets.
    pub fn drain(&self) {
        self.shared.stop.draining.store(true, Ordering::SeqCst);
        self.listener.lock().take();
        self.advance(Stage::Draining);
        for conn in self.shared.all() {
            conn.go_away();
        }
    }

    /// What a server that drains has yet to do: connections whose requests have no whole response yet, or whose
    /// responses are not written; not channels, which have no end. Closes connections that are idle and have
    /// been silent for `grace` while this was called again and again; until then they count, and so does,
    /// four times as long, one on which a part of a request has arrived.
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

    /// Connections whose responses have yet to be written: not channels, which have no end.
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

    /// Cuts the connection, unless it only waits for its peer to read.
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
    /// Nothing of a request has arrived, as far as the kernel knows, and nothing is left to be sent.
    fn is_idle(&self) -> bool {
        self.inbound.is_empty() && self.transport.all_is_written() && !self.transport.has_input()
    }

    /// Whether responses that are no channels' have yet to be written.
    fn is_unsent(&self) -> bool {
        !self.transport.all_is_written() && self.channel.is_none()
    }
}
