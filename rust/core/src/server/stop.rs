//! How a server stops: which connections it waits for, and which it closes.
//!
//! [`Server::drain`] stops accepting. Requests on open connections are still served, with `Connection: Close`, and the
//! embedder polls [`Server::unfinished`] for connections worth waiting for. An idle connection is not closed
//! immediately: a request may be on its way to it. [`Server::go_away`] ends WebSockets. [`Server::close`] closes the
//! rest.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::Server;
use super::connection::{Conn, State};
use super::phase::{Phase, Responding};
use super::tls::Tls;
use super::types::{Stage, Until};

/// A head or handshake that has begun to arrive gets this many times the grace of an idle connection.
const BEGUN: u32 = 4;
/// A peer may have received this much and not yet acknowledged it. A stop does not wait for that, which takes 40 ms or,
/// if the peer is gone, forever; unless the peer sends, so that it would be reset.
const MOST_IN_FLIGHT: u64 = 16 * 1024;

impl Server {
    /// Stops accepting, after taking the connections that the kernel has accepted.
    pub fn drain(&self) {
        self.shared.stop.draining.store(true, Ordering::SeqCst);
        self.listeners.lock().clear();
        self.advance(Stage::Draining);
    }

    /// Closes WebSockets with code 1001. Returns how many it closed.
    pub fn go_away(&self) -> usize {
        let conns = self.shared.all();
        conns.iter().filter(|conn| conn.go_away()).count()
    }

    /// How many connections a draining server must still wait for: those with a request whose head has arrived and that
    /// has no complete response, or bytes not yet written, or at their end not yet taken; WebSockets that have not been
    /// told to go away; until it is [`Until::Drained`], other open channels, too, and listeners that have not ended.
    /// Call it repeatedly: each call closes idle connections that have been silent for `grace` since a first call. Until
    /// then they count, and one with a partial head or handshake counts for four times as long. Those with only their
    /// last bytes in flight count if their peers have sent more since their end, until silent for `grace`.
    pub fn unfinished(&self, grace: Duration, until: Until) -> usize {
        let now = Instant::now();
        let stop = &self.shared.stop;
        let accepting = match until {
            Until::Stopped => &stop.accepting,
            Until::Drained => &stop.listening,
        };
        // Before the connections are counted, because it adds some.
        let accepting = accepting.load(Ordering::SeqCst);
        let conns = self.shared.all();
        let unfinished = conns
            .iter()
            .filter(|conn| conn.end_or_await(now, grace, until));
        accepting + unfinished.count()
    }

    /// Responses completed since [`Self::drain`].
    pub fn served(&self) -> usize {
        self.shared.stop.served.load(Ordering::Relaxed)
    }

    /// Closes every connection and ends the loops. Returns how many connections it cut off in the middle of a request
    /// or response, or with bytes not yet written or taken.
    pub fn close(&self) -> usize {
        self.drain();
        let conns = self.shared.all();
        let cut = conns.iter().filter(|conn| conn.cut()).count();
        self.shared.teams.shut();
        self.advance(Stage::Closed);
        cut
    }

    /// Connections with bytes not yet written, or at their end not yet taken; not open channels, which have no end.
    /// `grace` is as in [`Self::unfinished`].
    pub fn unsent(&self, grace: Duration) -> usize {
        let now = Instant::now();
        let conns = self.shared.all();
        let unsent = conns
            .iter()
            .filter(|conn| conn.lock().is_awaited(conn, now, grace));
        unsent.count()
    }
}

impl Conn {
    /// Ends the connection if it is idle and has been silent for `grace`. Otherwise, whether to wait for it.
    fn end_or_await(self: &Arc<Self>, now: Instant, grace: Duration, until: Until) -> bool {
        let is_drain = until == Until::Drained;
        let mut state = self.lock();
        match &state.phase {
            Phase::Http(_, Responding::Idle) => {
                let silent = state.silence(now);
                if state.is_idle() && silent >= grace {
                    state.lost(self);
                    return false;
                }
                state.inbound.is_body_partial()
                    || state.is_unsent(self)
                    || silent < grace * if state.is_idle() { 1 } else { BEGUN }
            }
            Phase::Http(..) => is_drain || !state.is_open_channel(),
            Phase::WebSocket(session) if is_drain || !session.is_closing() => true,
            _ => state.is_awaited(self, now, grace),
        }
    }

    /// Closes the connection, unless all is written and it only waits for its peer's end. Whether that interrupts a
    /// request, a response, or what a WebSocket was sent.
    fn cut(self: &Arc<Self>) -> bool {
        self.go_away();
        let mut state = self.lock();
        let interrupts = match state.phase {
            Phase::Http(_, Responding::Idle) => !state.is_idle() && !state.is_in_handshake(),
            Phase::Http(..) => true,
            _ => state.is_unsent(self),
        };
        if interrupts || !matches!(state.phase, Phase::Lingering) {
            state.lost(self);
        }
        interrupts
    }
}

impl State {
    /// No byte of a request has arrived, not even in the kernel or as a part of a record, and nothing is left to send.
    /// A handshake is the beginning of a request.
    fn is_idle(&self) -> bool {
        let begun = |tls: &Tls| tls.is_in_handshake() || tls.is_new() && tls.incomplete() > 0;
        self.inbound.is_empty()
            && !self.transport.tls().is_some_and(begun)
            && self.transport.all_is_written()
            && !self.transport.has_input()
    }

    fn is_in_handshake(&self) -> bool {
        let in_handshake = |tls: &Tls| tls.is_new() || tls.is_in_handshake();
        self.transport.tls().is_some_and(in_handshake)
    }

    /// For how long nothing has been received, since the first time that this was asked.
    pub(super) fn silence(&mut self, now: Instant) -> Duration {
        now - **self.silent_since.get_or_insert_with(|| Box::new(now))
    }

    /// Whether bytes are still to be written, or taken, other than the last ones in flight. Those of an open channel do
    /// not count, as more may follow without end.
    fn is_unsent(&self, conn: &Conn) -> bool {
        match self.transport.all_is_written() {
            true => self.untaken(conn) > MOST_IN_FLIGHT,
            false => !self.is_open_channel(),
        }
    }

    /// As [`Self::is_unsent`], or the last bytes are in flight to a peer that sends, and has not been silent for `grace`.
    fn is_awaited(&mut self, conn: &Conn, now: Instant, grace: Duration) -> bool {
        self.is_unsent(conn) || self.sends_on && self.untaken(conn) > 0 && self.silence(now) < grace
    }

    /// How many last bytes the kernel holds of a connection whose peer may still send. That would reset a closed one,
    /// and the peer would lose them, but not what its own kernel has taken.
    fn untaken(&self, conn: &Conn) -> u64 {
        match self.is_at_end() && !self.eof {
            true => self.transport.in_kernel(conn.shared.config.unsent),
            false => 0,
        }
    }

    fn is_open_channel(&self) -> bool {
        match &self.phase {
            Phase::WebSocket(session) => !session.is_closing(),
            phase => {
                let held = self.channel.as_ref().is_some_and(|channel| channel.held);
                held && phase.owes_response()
            }
        }
    }
}
