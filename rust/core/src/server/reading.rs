//! The connection's side of a request body that user code reads while it arrives. Also informational responses.
//!
//! Not here: the queue of its bytes (`body.rs`).

use std::sync::Arc;

use super::body::{BodyFault, Read};
use super::connection::{Conn, MAX_UNREAD_RESPONSES, State};
use super::partial::Terms;
use super::phase::{Phase, Receiving, Responding};
use super::shared::Deferred;
use super::transport::with_buffer;
use crate::h1::Version;
use crate::h1::response::status_line;

/// The status that asks for a body.
const CONTINUE: u16 = 100;

impl Conn {
    /// In any phase: bytes that have arrived may be read after the connection has ended.
    pub(super) fn read_body(&self, seq: u32, into: &mut [u8]) -> Read {
        let mut state = self.lock();
        if state.seq != seq || into.is_empty() {
            return Read::Failed(BodyFault::Over);
        }
        let due = state.phase.due().is_some();
        let Some(stream) = state.inbound.stream() else {
            return Read::Failed(BodyFault::Over);
        };
        stream.since = self.shared.clock.now();
        let read = stream.read(into);
        match read {
            Read::Data(_) => {
                state.account_less(self);
                state.resume_reading(self);
            }
            // After the head of the response it would be taken for a part of it.
            Read::Later if due && !std::mem::replace(&mut stream.continued, true) => {
                state.send_continue(self);
            }
            _ => {}
        }
        read
    }

    pub(super) fn trailers(&self, seq: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut state = self.lock();
        if state.seq != seq {
            return Vec::new();
        }
        state
            .inbound
            .stream()
            .map_or_else(Vec::new, |stream| stream.trailers())
    }

    pub(super) fn inform(&self, seq: u32, status: u16, headers: &[u8]) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        let knows = |terms: Terms| terms.version == Version::Http11;
        // A handler may send any number, to a peer that does not read.
        let too_much = state.transport.pending() > MAX_UNREAD_RESPONSES;
        if too_much || !state.phase.due().is_some_and(knows) {
            return false;
        }
        if status == CONTINUE
            && let Some(stream) = state.inbound.stream()
        {
            stream.continued = true;
        }
        with_buffer(|head| {
            status_line(head, status);
            head.extend_from_slice(headers);
            head.extend_from_slice(b"\r\n");
            state.transport.write(head, &[]);
        });
        self.shared.tally.note_written();
        true
    }

    pub(super) fn body_fault(&self, seq: u32) -> Option<(u16, String)> {
        let mut state = self.lock();
        let stream = state.inbound.stream()?;
        let fault = match stream.fault()? {
            BodyFault::Broken(rule) => (rule.status(), rule.message().to_owned()),
            BodyFault::TimedOut => {
                let limit = self.shared.config.times.body.unwrap_or_default();
                let message = format!("request body: no progress in {}ms", limit.as_millis());
                (408, message)
            }
            BodyFault::Early | BodyFault::Over => return None,
        };
        (state.seq == seq).then_some(fault)
    }
}

impl State {
    /// Takes received bytes of a body that user code reads.
    pub(super) fn received_body(&mut self, conn: &Arc<Conn>, fresh: &[u8], came: usize) {
        let window = conn.shared.config.body_window;
        if self.inbound.note_received(came) {
            self.since = conn.shared.clock.now();
        }
        let Some(stream) = self.inbound.stream() else {
            return;
        };
        let waiting = stream.len();
        let received = stream.receive(fresh, window);
        let more = stream.len() - waiting;
        match received {
            Ok(used) => {
                if stream.is_complete() {
                    self.inbound.keep(&fresh[used..]);
                    self.phase.body_is_over();
                }
            }
            // The reader is told.
            Err(_) => self.give_up_body(),
        }
        self.log_received(more);
        self.wake_reader(conn);
    }

    /// The body has failed. What still comes is dropped: unread, it would hide the peer's end, and cause a reset, which
    /// could lose the response.
    pub(super) fn give_up_body(&mut self) {
        self.inbound.drop_further_input();
        self.phase.body_is_over();
    }

    /// Tells a waiting reader that there is something for it: bytes, the end or a fault.
    pub(super) fn wake_reader(&mut self, conn: &Conn) {
        if let Some(stream) = self.inbound.stream()
            && std::mem::take(&mut stream.awaited)
        {
            stream.since = conn.shared.clock.now();
            conn.shared.defer(Deferred::Body(self.name));
        }
    }

    /// The peer ended its side before the end of a body that user code reads. False if there is no such body.
    pub(super) fn ended_in_body(&mut self, conn: &Arc<Conn>) -> bool {
        if !matches!(self.phase, Phase::Http(Receiving::Body, _)) {
            return false;
        }
        if let Some(stream) = self.inbound.stream() {
            stream.fail(BodyFault::Early);
        }
        self.wake_reader(conn);
        match self.phase {
            Phase::Http(_, Responding::Due(_)) => self.lost(conn),
            // The peer may still read the response.
            _ => self.leave(conn),
        }
        true
    }

    /// The response is complete. False if the connection cannot be kept, because the body was left unread.
    pub(super) fn leave_body(&mut self, conn: &Conn) -> bool {
        let Some(stream) = self.inbound.stream() else {
            return true;
        };
        let kept = !stream.ends_connection();
        let awaited = std::mem::take(&mut stream.awaited);
        let arriving = stream.is_arriving();
        let freed = stream.leave();
        if !arriving {
            self.inbound.forget_body();
        }
        if awaited {
            conn.shared.defer(Deferred::Body(self.name));
        }
        conn.shared.note_freed(freed);
        kept
    }
}
