//! Peers that have ended their side while a response is still due.
//!
//! Such a peer may have sent its whole request and wait for the response, or it may be gone: TCP shows the difference
//! only when something is sent. So its socket stays open until the response is made, within limits: at most
//! `Config::half_close_time` without anything being sent, and only the newest `Config::max_half_closed` of them, fewer
//! if descriptors run out.

use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::connection::{Conn, Next, State};
use super::half_closed::Oldest;
use super::shared::{Deferred, Shared};
use super::timers::{Timers, starts_over};
use super::types::Event;

/// When descriptors have run out, this many connections are closed together: user code needs some as well.
const ROOM: usize = 8;

impl Oldest<Conn> {
    /// Ends the connection, unless it has received its response meanwhile. Takes the connection's lock.
    pub(super) fn give_up(self) {
        let Self { conn, number } = self;
        let mut state = conn.lock();
        if state
            .half_closed
            .as_ref()
            .is_some_and(|ticket| ticket.number == number)
        {
            state.lost(&conn);
        }
    }
}

impl Shared {
    /// Descriptors have run out: closes some half-closed connections, the oldest first. False if there are none.
    pub(super) fn make_room(&self) -> bool {
        // Taken out first: ending one locks its connection, and drops its ticket, which locks the list.
        let oldest = self.half_closed.take(ROOM);
        let made = !oldest.is_empty();
        oldest.into_iter().for_each(Oldest::give_up);
        made
    }
}

impl State {
    /// The peer has ended its side and is still owed a response.
    pub(super) fn half_close(&mut self, conn: &Arc<Conn>) {
        let shared = &conn.shared;
        self.half_closed = Some(Box::new(shared.half_closed.admit(conn)));
        if let Some(oldest) = shared.half_closed.excess(shared.config.max_half_closed) {
            // Not here: that takes another connection's lock.
            shared.defer(Deferred::GiveUp(oldest));
        }
        self.tell_half_close(conn);
    }

    /// Tells an embedder that asked for it that the peer of the current request has ended its side.
    pub(super) fn tell_half_close(&mut self, conn: &Arc<Conn>) {
        if conn.shared.config.tell_half_close && self.phase.owes_response() {
            self.report(conn, Event::HalfClosed);
        }
    }

    /// Something was sent, so the time that a half-closed peer may wait starts over.
    pub(super) fn note_sent(&mut self) {
        if let Some(ticket) = &mut self.half_closed {
            ticket.since = Instant::now();
        }
    }

    /// What the task does after EOF: there is nothing left to read, and the response in progress notices if the peer
    /// disconnects.
    pub(super) fn await_response(
        &mut self,
        conn: &Arc<Conn>,
        cx: &mut Context<'_>,
        timers: &mut Timers,
    ) -> Next {
        let time = conn.shared.config.half_close_time;
        while let Some(ticket) = &mut self.half_closed
            && self.transport.all_is_written()
            && timers.reached(cx, ticket.since + time)
        {
            if !starts_over(ticket.since + time) {
                self.lost(conn);
                return Next::Close;
            }
            ticket.since = Instant::now();
        }
        Next::Wait
    }
}
