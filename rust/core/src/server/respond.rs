//! Responses of known length: framing is ours, status and fields are the handler's. Unknown length: `stream.rs`.

use std::fs::File;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::connection::{Conn, MAX_UNREAD_RESPONSES, State};
use super::exchange::{Request, Responded, Work};
use super::partial::Terms;
use super::payload::{Body, Kept};
use super::phase::{Phase, Receiving, Responding};
use super::step::Step;
use super::transport::{CORK_SIZE, with_buffer};
use super::types::{
    CLOSE, GIVEN_CONNECTION, GIVEN_DATE, GIVEN_SERVER, INLINE, Refusal, ResponseHead,
    UNKNOWN_LENGTH,
};
use crate::grammar::is_bodyless;
use crate::h1::response::{
    LengthHeader, Persistence, content_length, length_header, replace_connection, status_line,
};

/// Pipelined requests of one connection that a thread serves in a row before it yields to others.
const MAX_IN_A_ROW: u8 = 64;

const UNAVAILABLE: &[u8] = b"Server unavailable, please try again";
const UNAVAILABLE_FIELDS: &[u8] = b"Content-Type: text/plain; charset=utf-8\r\nRetry-After: 1\r\n";

impl Conn {
    pub(super) fn respond(
        self: &Arc<Self>,
        seq: u32,
        response: &ResponseHead<'_>,
        body: Body<'_>,
        total: u64,
    ) -> Responded {
        self.hand_on(
            self.respond_locked(seq, response, body, total),
            response.flags,
        )
    }

    /// The next pipelined request goes to the caller if it asked for it and has not had too many in a row, else to the
    /// queue. Call it without the connection's lock: a full queue responds with 503, which takes that lock. `in_a_row`
    /// cannot change meanwhile: that takes a response to the request in our hands.
    pub(super) fn hand_on(&self, sent: Responded, flags: u32) -> Responded {
        self.shared.tally.note_written();
        match sent {
            Responded::Done(Some(next)) if flags & INLINE == 0 || self.lock().in_a_row == 0 => {
                self.shared.offer(Work::Request(next));
                Responded::Done(None)
            }
            other => other,
        }
    }

    fn respond_locked(
        self: &Arc<Self>,
        seq: u32,
        response: &ResponseHead<'_>,
        body: Body<'_>,
        total: u64,
    ) -> Responded {
        let Some(mut state) = self.current(seq) else {
            return Responded::Stale;
        };
        let Some(terms) = state.phase.due() else {
            return Responded::Stale;
        };
        let _step = Step::begin();
        let stopping = self.is_last(&state, response.flags & GIVEN_CONNECTION != 0);
        let (last, line) = terms.connection(response, false, stopping);
        let empty = terms.head || is_bodyless(response.status);
        let mut body = if empty { Body::EMPTY } else { body };
        with_buffer(|head| {
            Self::start_head(head, response, line);
            put_length(head, response, terms.head, total);
            self.end_head(head, response);
            state.log_head(response.status, head.len());
            let (head, apart) = body.join(head);
            // The next request is already here: its response can go out in the same write.
            if response.flags & INLINE != 0 && state.inbound.waiting() > 0 && apart.is_empty() {
                state.transport.push(head);
            } else {
                state.transport.write(head, apart);
            }
        });
        let terms = Terms { last, ..terms };
        let left = match empty {
            true => 0,
            false => total.saturating_sub(body.len() as u64),
        };
        let tally = &self.shared.tally;
        tally.head(response.status, state.arrived, left == 0);
        self.sent(&mut state, terms, left, response.flags)
    }

    /// The terms of a begun response of known length, and how much of its body remains.
    fn sending(&self, seq: u32) -> Option<(MutexGuard<'_, State>, Terms, u64)> {
        let state = self.current(seq)?;
        let (terms, left) = state.phase.sending()?;
        Some((state, terms, left))
    }

    /// A part of the response is sent; `left` bytes of its body remain.
    fn sent(self: &Arc<Self>, state: &mut State, terms: Terms, left: u64, flags: u32) -> Responded {
        if left == 0 {
            return Responded::Done(self.finish(state, terms, flags));
        }
        state.phase.go_on(Responding::Sending(terms, left));
        Responded::More
    }

    pub(super) fn respond_file(
        self: &Arc<Self>,
        seq: u32,
        response: &ResponseHead<'_>,
        file: (File, u64),
        len: u64,
    ) -> Responded {
        let mut sent = self.respond_locked(seq, response, Body::EMPTY, len);
        if matches!(sent, Responded::More) {
            sent = self.file_locked(seq, file, response.flags);
        }
        self.hand_on(sent, response.flags)
    }

    fn file_locked(self: &Arc<Self>, seq: u32, (file, at): (File, u64), flags: u32) -> Responded {
        let Some((mut state, terms, left)) = self.sending(seq) else {
            return Responded::Stale;
        };
        state.transport.push_file(file, at, left);
        Responded::Done(self.finish(&mut state, terms, flags))
    }

    pub(super) fn send_body(self: &Arc<Self>, seq: u32, piece: &[u8], flags: u32) -> Responded {
        self.hand_on(self.send_body_locked(seq, piece, flags), flags)
    }

    fn send_body_locked(self: &Arc<Self>, seq: u32, piece: &[u8], flags: u32) -> Responded {
        let Some((mut state, terms, left)) = self.sending(seq) else {
            return Responded::Stale;
        };
        let piece = &piece[..clip(piece.len(), left)];
        state.transport.write(&[], piece);
        self.sent(&mut state, terms, left - piece.len() as u64, flags)
    }

    pub(super) fn offer_body(
        self: &Arc<Self>,
        seq: u32,
        piece: &[u8],
        flags: u32,
    ) -> (usize, Responded) {
        let (taken, sent) = self.offer_locked(seq, piece, flags);
        (taken, self.hand_on(sent, flags))
    }

    fn offer_locked(self: &Arc<Self>, seq: u32, piece: &[u8], flags: u32) -> (usize, Responded) {
        let Some((mut state, terms, left)) = self.sending(seq) else {
            return (0, Responded::Stale);
        };
        let piece = &piece[..clip(piece.len(), left)];
        let mut taken = 0;
        while taken < piece.len() {
            match state.transport.write_now(&[IoSlice::new(&piece[taken..])]) {
                None => return (taken, Responded::Stale),
                Some(0) => break,
                Some(written) => taken += written,
            }
        }
        let left = left - taken as u64;
        if left > 0 {
            state.transport.wake_if_unsent();
        }
        (taken, self.sent(&mut state, terms, left, flags))
    }

    pub(super) fn send_rest(self: &Arc<Self>, seq: u32, kept: Kept, flags: u32) -> Responded {
        self.hand_on(self.send_rest_locked(seq, kept, flags), flags)
    }

    fn send_rest_locked(self: &Arc<Self>, seq: u32, mut kept: Kept, flags: u32) -> Responded {
        let Some((mut state, terms, left)) = self.sending(seq) else {
            return Responded::Stale;
        };
        kept.len = clip(kept.len, left);
        let left = left - kept.len as u64;
        state.transport.push_kept(kept);
        if left > 0 {
            state.transport.wake();
        }
        self.sent(&mut state, terms, left, flags)
    }

    /// The response is complete: continues with the next request, or ends the connection.
    pub(super) fn finish(
        self: &Arc<Self>,
        state: &mut State,
        terms: Terms,
        flags: u32,
    ) -> Option<Request> {
        if state.phase.sending().is_some() {
            self.shared.tally.whole(state.arrived);
        }
        state.log_end();
        state.channel = None;
        // Reported under this exchange's name, which the next request must not inherit.
        state.drained();
        state.note_sent();
        let kept = state.leave_body(self);
        state.name = 0;
        state.account_less(self);
        state.since = self.shared.clock.now();
        if self.shared.is_draining() {
            self.shared.stop.served.fetch_add(1, Ordering::Relaxed);
        }
        if terms.last || !kept {
            if !terms.asks_for_end() {
                // The peer may not know yet that we close: what it sends now must not cause a reset. Others need not
                // be waited for: each of their requests has a connection of its own.
                state.inbound.drop_input();
            }
            state.finish_connection();
            return None;
        }
        // Before the flush: if the next response comes from this thread, both may go out in one write.
        let next = state.next_in_line(self);
        let inline = flags & INLINE != 0
            && next.is_some()
            && state.in_a_row < MAX_IN_A_ROW
            // A stopping server accepts no new work by any path.
            && !self.shared.teams.of_loop(self.event_loop).queue.is_shut();
        state.in_a_row = if inline { state.in_a_row + 1 } else { 0 };
        if inline && state.transport.pending() < CORK_SIZE {
            if !state.transport.all_is_written() {
                state.transport.cork();
            }
        } else if !state.transport.all_is_written() {
            state.flush();
        }
        state.resume_reading(self);
        next
    }

    /// 503, because no thread can run the request: `full`, unless threads end because the server stops. The connection
    /// continues with its next request.
    pub(super) fn refuse(self: &Arc<Self>, seq: u32, why: Refusal) -> Option<Request> {
        if why == Refusal::Overload {
            self.shared.tally.rejected.fetch_add(1, Ordering::Relaxed);
        }
        let response = ResponseHead {
            status: 503,
            headers: UNAVAILABLE_FIELDS,
            flags: INLINE,
            declared: -1,
        };
        let (body, total) = (Body::Apart(UNAVAILABLE), UNAVAILABLE.len() as u64);
        let refused = self.respond_locked(seq, &response, body, total);
        self.shared.tally.note_written();
        match refused {
            Responded::Done(next) => next,
            _ => None,
        }
    }

    pub(super) fn refuse_all(self: &Arc<Self>, seq: u32, why: Refusal) {
        let next = self.refuse(seq, why);
        self.hand_on(Responded::Done(next), 0);
    }

    /// Whether the next response is the connection's last, for the server's reasons: it leaves a body unread, or it is
    /// the last one allowed. Also if the server stops, or has nearly as many connections as it may, but not if another
    /// request has already arrived, or if a `Connection` header was `given`.
    pub(super) fn is_last(&self, state: &State, given: bool) -> bool {
        self.is_spent(state)
            || state.inbound.ends_connection()
            || !given
                && (self.shared.is_draining() || self.shared.admission.is_crowded())
                && state.inbound.waiting() == 0
    }

    /// Whether the connection has had all the requests that it may have.
    fn is_spent(&self, state: &State) -> bool {
        let most = self.shared.config.max_requests;
        most.is_some_and(|most| state.seq >= most)
    }

    pub(super) fn start_head(head: &mut Vec<u8>, response: &ResponseHead<'_>, connection: &[u8]) {
        status_line(head, response.status);
        if response.flags & GIVEN_CONNECTION != 0 && !connection.is_empty() {
            return replace_connection(head, response.headers, connection);
        }
        head.extend_from_slice(response.headers);
        head.extend_from_slice(connection);
    }

    pub(super) fn end_head(&self, head: &mut Vec<u8>, response: &ResponseHead<'_>) {
        self.shared.own_fields(
            head,
            response.flags & GIVEN_SERVER == 0,
            response.flags & GIVEN_DATE == 0,
        );
        head.extend_from_slice(b"\r\n");
    }
}

impl State {
    /// The pipelined request behind a complete response, unless the peer has too many unread response bytes.
    fn next_in_line(&mut self, conn: &Arc<Conn>) -> Option<Request> {
        if self.unread_responses() > MAX_UNREAD_RESPONSES {
            self.flush();
        }
        if self.unread_responses() > MAX_UNREAD_RESPONSES {
            self.phase = Phase::Http(Receiving::HeldBack, Responding::Idle);
            return None;
        }
        self.phase = Phase::Http(Receiving::Requests, Responding::Idle);
        let next = match self.inbound.waiting() {
            0 => None,
            _ => self.next_request(conn, &[], 0),
        };
        if next.is_none() {
            self.finish_if_all_is_said();
        }
        next
    }
}

/// How many of `len` bytes still belong to a body of which `left` remain.
fn clip(len: usize, left: u64) -> usize {
    len.min(usize::try_from(left).unwrap_or(usize::MAX))
}

/// Content-Length for a body of `total` bytes, in responses that have one.
fn put_length(head: &mut Vec<u8>, response: &ResponseHead<'_>, is_head: bool, total: u64) {
    match length_header(response.status) {
        LengthHeader::Absent => {}
        LengthHeader::Zero => content_length(head, 0),
        LengthHeader::OfBody if response.declared >= 0 && is_head => {
            content_length(head, response.declared as u64);
        }
        LengthHeader::OfBody if response.declared == UNKNOWN_LENGTH && is_head => {}
        LengthHeader::OfBody => content_length(head, total),
        LengthHeader::AsGiven if response.declared >= 0 => {
            content_length(head, response.declared as u64);
        }
        LengthHeader::AsGiven => {}
    }
}

impl Terms {
    /// Whether the connection ends after this response, and the `Connection` line for it.
    pub(super) fn connection(
        &self,
        response: &ResponseHead<'_>,
        until_close: bool,
        stopping: bool,
    ) -> (bool, &'static [u8]) {
        let given = response.flags & GIVEN_CONNECTION != 0;
        let rule = Persistence {
            version: self.version,
            close: self.close,
            keep_alive: self.keep_alive,
            websocket: self.upgrade,
            handler_close: response.flags & CLOSE != 0,
            stopping,
            until_close,
        }
        .rule();
        // A given line stays if the connection does, or if it says close itself; and, as in http-kit, to HTTP/1.0 peers
        // that asked for the end themselves: there is no other line for them.
        let stays = given && (!rule.close || response.flags & CLOSE != 0);
        (rule.close, if stays { b"" } else { rule.line })
    }
}
