//! When a connection stops reading and when it resumes, and what it holds, as the server's [`Budget`] counts it.

use super::budget::Budget;
use super::connection::{Conn, State};
use super::phase::{Phase, Receiving};
use super::session::Session;

/// Pipelined bytes kept behind the current request before reading stops.
const MAX_PIPELINED: usize = 64 * 1024;
/// Unread bytes of pongs and other automatic frames at which we stop reading.
const MAX_UNREAD_REPLIES: usize = 64 * 1024;

impl State {
    pub(super) fn is_user_behind(&self) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.is_full())
    }

    pub(super) fn is_full(&self, conn: &Conn) -> bool {
        match &self.phase {
            Phase::Http(Receiving::HeldBack, _) => true,
            Phase::Http(Receiving::Behind, _) => {
                self.inbound.waiting() >= MAX_PIPELINED || self.is_over_budget(conn)
            }
            Phase::Http(Receiving::Body, _) => {
                self.inbound.is_ahead(conn.shared.config.body_window) || self.is_over_budget(conn)
            }
            Phase::WebSocket(session) => {
                let replies = session.unread_replies().min(self.transport.pending());
                replies > MAX_UNREAD_REPLIES || self.leaves_messages(session, conn)
            }
            _ => false,
        }
    }

    /// Whether a WebSocket's messages are left unread for our sake, not for what the peer does not read.
    pub(super) fn leaves_messages(&self, session: &Session, conn: &Conn) -> bool {
        // A message that has begun may arrive: it cannot be freed before.
        self.is_user_behind() || session.held() == 0 && self.is_over_budget(conn)
    }

    /// Whether the connection holds something, and all of them too much.
    pub(super) fn is_over_budget(&self, conn: &Conn) -> bool {
        self.in_memory() > 0 && conn.shared.budget.is_exhausted()
    }

    /// Bytes of buffers for what was received and not handed over, and for what was not sent.
    fn in_memory(&self) -> usize {
        let message = match &self.phase {
            Phase::WebSocket(session) => session.held(),
            _ => 0,
        };
        let events = self.channel.as_ref().map_or(0, |channel| channel.bytes());
        self.transport.in_memory() + self.inbound.held() + message + events
    }

    /// Counts what the connection holds now.
    pub(super) fn account(&mut self, conn: &Conn) {
        // Not part of `in_memory`: a record that has begun may arrive, or it would never be freed.
        let record = self.transport.tls().map_or(0, |tls| tls.incomplete());
        let held = self.in_memory() + record;
        let units = Budget::units(held);
        conn.shared.budget.change(self.units, units);
        self.units = units;
    }

    /// User code has taken something; perhaps no turn follows for a long time.
    pub(super) fn account_less(&mut self, conn: &Conn) {
        if self.units > 0 {
            self.account(conn);
        }
    }

    /// Resumes reading if it had stopped and there is room.
    pub(super) fn resume_reading(&mut self, conn: &Conn) {
        if self.paused && !self.is_full(conn) {
            self.paused = false;
            self.transport.wake();
        }
    }
}
