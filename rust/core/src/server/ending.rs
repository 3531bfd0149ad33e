//! How a connection ends: by its peer, with its last response, or by force.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::connection::{Conn, State};
use super::phase::{Phase, Receiving, Responding};
use super::types::Event;

impl Conn {
    pub(super) fn abort(self: &Arc<Self>, seq: u32) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        state.reset(self);
        true
    }

    pub(super) fn is_open(&self, seq: u32) -> bool {
        self.current(seq).is_some()
    }
}

impl State {
    /// The peer ended its side.
    pub(super) fn ended(&mut self, conn: &Arc<Conn>) {
        self.eof = true;
        conn.shared.ended.fetch_add(1, Ordering::Relaxed);
        if self.ended_in_body(conn) {
            return;
        }
        let held = self.channel.as_ref().is_some_and(|channel| channel.held);
        match self.phase {
            // It may only have half-closed: it still gets its response.
            _ if self.phase.owes_response() && !held => self.half_close(conn),
            Phase::Http(Receiving::HeldBack, _) => self.half_close(conn),
            Phase::Http(_, Responding::Idle) if !self.transport.all_is_written() => {
                self.finish_connection();
            }
            Phase::Lingering if !self.transport.all_is_written() => {}
            Phase::Http(_, Responding::Due(_) | Responding::Streaming(..)) => self.leave(conn),
            _ => self.lost(conn),
        }
    }

    /// Tells the user of a channel that the peer has ended its side. The peer may still read what was sent to it, such
    /// as earlier responses.
    pub(super) fn leave(&mut self, conn: &Arc<Conn>) {
        self.finish_connection();
        // A sender that waits for room must learn that the channel is closed, even if the peer continues to read.
        self.drained();
        self.report(conn, Event::Closed(-1, String::new()));
    }

    /// The connection is over; user code that holds the exchange is told.
    pub(super) fn lost(&mut self, conn: &Arc<Conn>) {
        self.note_cut_handshake(conn);
        self.log_partial(conn);
        self.close_log();
        let closed = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => return,
            Phase::Http(_, Responding::Idle) | Phase::Lingering => None,
            Phase::Http(..) => Some(Event::Closed(-1, String::new())),
            Phase::WebSocket(session) => session.lost(),
        };
        self.release();
        self.account(conn);
        self.wake_reader(conn);
        conn.shared.note_freed(self.transport.take_freed());
        if let Some(event) = closed {
            self.report(conn, event);
        }
    }

    /// Releases the socket and the buffers.
    fn release(&mut self) {
        self.transport.close();
        self.half_closed = None;
        self.drained();
        self.inbound.clear();
    }

    /// The last bytes are written or queued; the connection ends after them.
    pub(super) fn finish_connection(&mut self) {
        self.phase = Phase::Lingering;
        self.half_closed = None;
        self.flush();
        self.transport.wake();
    }

    /// Ends a connection whose peer has ended its side, once no complete request is left.
    pub(super) fn finish_if_all_is_said(&mut self) {
        if self.eof
            && matches!(
                self.phase,
                Phase::Http(Receiving::Requests, Responding::Idle)
            )
        {
            self.finish_connection();
        }
    }

    /// Closes the connection with a reset, so that a peer in the middle of a response sees it as incomplete.
    pub(super) fn reset(&mut self, conn: &Arc<Conn>) {
        self.transport.reset_on_close();
        self.transport.wake();
        self.lost(conn);
    }
}
