//! Responses of unknown length, sent piece by piece.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use parking_lot::Mutex;

use super::coding::Coder;
use super::connection::{Conn, State};
use super::exchange::Responded;
use super::heartbeat::{HEARTBEAT, Heartbeat};
use super::partial::Terms;
use super::payload::Payload;
use super::phase::{Extras, Phase, Responding};
use super::timers::Timers;
use super::transport::{CORK_SIZE, with_buffer};
use super::types::{GIVEN_CONNECTION, Gzip, ResponseHead, Sent};
use crate::h1::response::{
    LAST_CHUNK, StreamFraming, TRANSFER_ENCODING_CHUNKED, chunk_header, stream_framing,
};

impl Conn {
    pub(super) fn stream(
        self: &Arc<Self>,
        seq: u32,
        response: &ResponseHead<'_>,
        first: Payload<'_>,
    ) -> Sent {
        let mut coder = Gzip::of(response.flags).map(Coder::new);
        let first = match &mut coder {
            Some(coder) => Payload::Shared(coder.coded(&first)),
            None => first,
        };
        let Some(mut state) = self.current(seq) else {
            return Sent::Closed;
        };
        let Some(terms) = state.phase.due() else {
            return Sent::Closed;
        };
        // An ordinary streamed response to a WebSocket request is framed like any other.
        let framing = stream_framing(response.status, terms.version, terms.head, false);
        let until_close = framing == StreamFraming::UntilClose;
        let stopping = self.is_last(&state, response.flags & GIVEN_CONNECTION != 0);
        let (last, line) = terms.connection(response, until_close, stopping);
        let begun = Responding::Streaming(Terms { last, ..terms }, coder.map(Extras::coding));
        state.phase.go_on(begun);
        state.sent_in_callback = true;
        state.note_sent();
        with_buffer(|head| {
            Self::start_head(head, response, line);
            if terms.chunked() {
                head.extend_from_slice(TRANSFER_ENCODING_CHUNKED);
            }
            self.end_head(head, response);
            state.log_head(response.status, head.len());
            let out = &mut state.transport;
            if terms.head {
                out.write(head, &[]);
            } else if first.len() < CORK_SIZE {
                push_chunk(head, &first, terms.chunked());
                out.write(head, &[]);
            } else {
                terms.start_chunk(head, first.len());
                out.write_payload(head, first, terms.chunk_end());
            }
        });
        let arrived = state.arrived;
        self.shared.tally.head(response.status, arrived, false);
        self.shared.tally.note_written();
        Sent::Accepted
    }

    pub(super) fn send_chunk(
        self: &Arc<Self>,
        seq: u32,
        piece: Payload<'_>,
        flags: u32,
        limit: usize,
    ) -> Sent {
        let Some(mut state) = self.current(seq) else {
            return Sent::Closed;
        };
        let Some(terms) = state.phase.streaming() else {
            return Sent::Closed;
        };
        if piece.is_empty() || terms.head {
            return Sent::Accepted;
        }
        if let Some(coder) = state.coder() {
            drop(state);
            return self.send_coded(seq, &coder, &piece, flags, limit);
        }
        if !state.room_or_await(self, limit) {
            return Sent::Full;
        }
        state.push_piece(terms, piece, flags);
        self.shared.tally.note_written();
        Sent::Accepted
    }

    /// Compresses a piece without the connection's lock; the coder's keeps pieces in order.
    fn send_coded(
        &self,
        seq: u32,
        coder: &Mutex<Coder>,
        piece: &[u8],
        flags: u32,
        limit: usize,
    ) -> Sent {
        let mut coder = coder.lock();
        match self
            .current(seq)
            .map(|mut state| state.room_or_await(self, limit))
        {
            None => return Sent::Closed,
            Some(false) => return Sent::Full,
            Some(true) => {}
        }
        let coded = coder.coded(piece);
        let Some(mut state) = self.current(seq) else {
            return Sent::Closed;
        };
        let Some(terms) = state.phase.streaming() else {
            return Sent::Closed;
        };
        state.push_piece(terms, Payload::Shared(coded), flags);
        self.shared.tally.note_written();
        Sent::Accepted
    }

    pub(super) fn heartbeat(self: &Arc<Self>, seq: u32, interval: Duration) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        let Phase::Http(_, Responding::Streaming(terms, extras)) = &mut state.phase else {
            return false;
        };
        if !terms.head {
            extras.get_or_insert_default().heartbeat = Some(Heartbeat::new(interval));
            state.transport.wake();
        }
        true
    }

    pub(super) fn end_stream(self: &Arc<Self>, seq: u32) -> Sent {
        let coder = self.current(seq).and_then(|mut state| state.coder());
        let mut coder = coder.as_ref().map(|coder| coder.lock());
        let Some(mut state) = self.current(seq) else {
            return Sent::Closed;
        };
        // Without a response the connection ends instead.
        let due = state.phase.due().map(|terms| Terms {
            last: true,
            ..terms
        });
        let Some(terms) = state.phase.streaming().or(due) else {
            return Sent::Closed;
        };
        if due.is_none() && !terms.head {
            let rest = coder.as_mut().map_or_else(Vec::new, |coder| coder.end());
            with_buffer(|end| {
                push_chunk(end, &rest, terms.chunked());
                if terms.chunked() {
                    end.extend_from_slice(LAST_CHUNK);
                }
                state.transport.write(end, &[]);
            });
        }
        let next = self.finish(&mut state, terms, 0);
        drop(state);
        self.hand_on(Responded::Done(next), 0);
        Sent::Accepted
    }
}

impl State {
    fn coder(&mut self) -> Option<Arc<Mutex<Coder>>> {
        self.phase.extras()?.coder.clone()
    }

    fn push_piece(&mut self, terms: Terms, piece: Payload<'_>, flags: u32) {
        self.note_sent();
        // The timer notices when it fires, so that senders need not wake the loop.
        if let Some(heartbeat) = self.heartbeat() {
            heartbeat.postpone();
        }
        with_buffer(|buffer| {
            if piece.len() < CORK_SIZE {
                push_chunk(buffer, &piece, terms.chunked());
                self.send(buffer, flags);
            } else {
                terms.start_chunk(buffer, piece.len());
                self.send_payload(buffer, piece, terms.chunk_end(), flags);
            }
        });
    }

    fn heartbeat(&mut self) -> Option<&mut Heartbeat> {
        self.phase.extras()?.heartbeat.as_mut()
    }

    /// Sends the heartbeat that is due, and sets the timer for the next one.
    pub(super) fn beat(&mut self, cx: &mut Context<'_>, timers: &mut Timers) {
        while let Some(heartbeat) = self.heartbeat() {
            if !timers.reached(cx, heartbeat.due) {
                return;
            }
            heartbeat.postpone();
            self.send_heartbeat();
        }
        timers.no_deadline();
    }

    /// Not while something is queued: the peer lacks no bytes then, and heartbeats must not pile up. Nor while a thread
    /// compresses a piece, which is sent in a moment.
    fn send_heartbeat(&mut self) {
        let Some(terms) = self.phase.streaming() else {
            return;
        };
        if !self.transport.all_is_written() {
            return;
        }
        let beat = match self.coder() {
            None => Payload::Borrowed(HEARTBEAT),
            Some(coder) => {
                let Some(mut coder) = coder.try_lock() else {
                    return;
                };
                Payload::Shared(coder.short(HEARTBEAT))
            }
        };
        with_buffer(|chunk| {
            push_chunk(chunk, &beat, terms.chunked());
            self.transport.write(chunk, &[]);
        });
    }
}

impl Terms {
    fn chunked(&self) -> bool {
        self.version == crate::h1::Version::Http11
    }

    fn start_chunk(&self, out: &mut Vec<u8>, len: usize) {
        if self.chunked() {
            chunk_header(out, len as u64);
        }
    }

    fn chunk_end(&self) -> &'static [u8] {
        if self.chunked() { b"\r\n" } else { b"" }
    }
}

fn push_chunk(out: &mut Vec<u8>, piece: &[u8], chunked: bool) {
    if piece.is_empty() {
        return;
    }
    if chunked {
        chunk_header(out, piece.len() as u64);
    }
    out.extend_from_slice(piece);
    if chunked {
        out.extend_from_slice(b"\r\n");
    }
}
