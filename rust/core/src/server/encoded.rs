//! Responses that the embedder has encoded itself, head and all.

use std::sync::Arc;

use super::connection::Conn;
use super::exchange::Responded;
use super::partial::Terms;
use super::phase::Responding;
use super::types::{Encoded, Interest};
use crate::grammar::is_bodyless;
use crate::h1::encoded::EncodedHead;
use crate::h1::response::{CONNECTION_CLOSE, Persistence, replace_connection};

const EMPTY_LINE: &[u8] = b"\r\n";

impl Conn {
    pub(super) fn respond_encoded(
        self: &Arc<Self>,
        seq: u32,
        bytes: &[u8],
        more: u64,
        interest: Interest,
    ) -> Encoded {
        let Some(head) = EncodedHead::of(bytes) else {
            return Encoded::Malformed;
        };
        let Some(mut state) = self.current(seq) else {
            return Encoded::Stale;
        };
        let Some(terms) = state.phase.due() else {
            return Encoded::Stale;
        };
        if head.status < 200 {
            if head.status != 101 || !terms.upgrade {
                return Encoded::Malformed;
            }
            state.open_websocket(self, &bytes[..head.len], interest, None);
            return Encoded::Upgraded;
        }
        let empty = terms.head || is_bodyless(head.status);
        let body = (bytes.len() - head.len) as u64 + more;
        let stopping = self.is_last(&state, head.connection) && !head.close;
        let delimited = empty || head.delimits(body);
        let terms = terms.after_encoded(&head, delimited, stopping);
        let (fields, rest) = bytes.split_at(head.len - EMPTY_LINE.len());
        let rest = if empty { EMPTY_LINE } else { rest };
        if stopping {
            let mut closing = Vec::with_capacity(head.len + CONNECTION_CLOSE.len());
            replace_connection(&mut closing, fields, CONNECTION_CLOSE);
            state.log_head(head.status, closing.len() + EMPTY_LINE.len());
            state.transport.write(&closing, rest);
        } else {
            state.log_head(head.status, head.len);
            let all = &bytes[..fields.len() + rest.len()];
            state.transport.write(all, &[]);
        }
        let whole = empty || more == 0;
        self.shared.tally.head(head.status, state.arrived, whole);
        if !whole {
            self.shared.tally.note_written();
            state.phase.go_on(Responding::Sending(terms, more));
            return Encoded::More;
        }
        let next = self.finish(&mut state, terms, 0);
        drop(state);
        self.hand_on(Responded::Done(next), 0);
        Encoded::Done
    }
}

impl Terms {
    /// The terms of the connection after this response. `delimited`: the peer can tell where it ends.
    fn after_encoded(self, head: &EncodedHead, delimited: bool, stopping: bool) -> Self {
        let rule = Persistence {
            version: self.version,
            close: self.close,
            // An HTTP/1.0 peer waits for the connection to close unless it is told that it stays open.
            keep_alive: self.keep_alive && head.keep_alive,
            websocket: self.upgrade,
            handler_close: head.close,
            stopping,
            until_close: !delimited,
        }
        .rule();
        Self {
            last: rule.close,
            ..self
        }
    }
}
