//! Takes requests out of received bytes, and responds to those that break a rule.

use std::net::SocketAddr;
use std::sync::Arc;

use super::connection::{Conn, State};
use super::exchange::{Block, Request};
use super::inbound::{Awaited, Parsed};
use super::phase::{Phase, Receiving};
use super::request;
use super::sink::Notice;
use super::tally::Moment;
use crate::error::Violation;

impl State {
    /// The next request in the kept bytes and `fresh`, of which `came` bytes have not counted as progress so far. One
    /// that breaks a rule gets its response here.
    pub(super) fn next_request(
        &mut self,
        conn: &Arc<Conn>,
        fresh: &[u8],
        came: usize,
    ) -> Option<Request> {
        let before = self.inbound.awaited();
        let parsed = self
            .inbound
            .parse(&conn.shared.config, conn.ends().peer, fresh);
        if !self.admit_source(conn) {
            // It is refused for its address, whatever it sends: none of that is a request.
            self.inbound.clear();
            self.lost(conn);
            return None;
        }
        match parsed {
            // The peer has ended its side, and will not send the rest of the body.
            Ok(Some((draft, ..))) if self.eof && self.inbound.is_body_arriving() => {
                self.inbound.forget_body();
                self.log_cut(conn, draft.finish(&[], &[]));
                None
            }
            Ok(Some(parsed)) => Some(self.begin_request(conn, parsed)),
            Ok(None) => {
                self.note_progress(conn, before, came);
                if before != Awaited::Body
                    && self.inbound.awaited() == Awaited::Body
                    && conn.shared.budget.is_exhausted()
                {
                    self.refuse_body(conn);
                    return None;
                }
                if self.inbound.take_continue() {
                    self.send_continue(conn);
                }
                None
            }
            Err(violation) => {
                self.violated(conn, violation, fresh);
                None
            }
        }
    }

    fn begin_request(&mut self, conn: &Arc<Conn>, (draft, terms, chunked): Parsed) -> Request {
        self.seq = self.seq.wrapping_add(1);
        self.since = conn.shared.clock.now();
        self.name = 0;
        self.channel = None;
        let mut receiving = Receiving::Behind;
        if let Some(stream) = self.inbound.stream() {
            stream.since = self.since;
            if stream.is_arriving() {
                receiving = Receiving::Body;
            }
        }
        self.phase = Phase::begun(receiving, terms);
        if self.eof {
            self.tell_half_close(conn);
        }
        let exchange = self.exchange(conn);
        let (text, trailers) = match &chunked {
            Some(decoder) => decoder.trailers(),
            None => (&[][..], &[][..]),
        };
        let (block, arrived) = draft.finish(trailers, text);
        self.arrived = Moment::of(request::arrival(&block));
        self.log_request(&block, arrived);
        conn.shared.tally.request();
        Request {
            exchange,
            block: Block::new(block, &conn.shared),
            arrived,
        }
    }

    /// There is no memory for a body: 503.
    fn refuse_body(&mut self, conn: &Arc<Conn>) {
        let budget = &conn.shared.budget;
        if budget.warnings.take_due() {
            conn.shared.notice(Notice::Warning(budget.warning()));
        }
        conn.shared.tally.request();
        conn.shared.tally.status(503);
        self.log_refused(conn, &[]);
        self.send_last(conn, 503);
        // The peer keeps sending.
        self.inbound.drop_input();
        self.finish_connection();
    }

    /// Tells the peer to send the body.
    pub(super) fn send_continue(&mut self, conn: &Conn) {
        let mut interim = Vec::with_capacity(128);
        conn.shared.interim(&mut interim);
        self.transport.write(&interim, &[]);
        conn.shared.tally.note_written();
    }

    /// Counts the address of a PROXY header, or of the peer if it sent none, once it is known. False if it has too many
    /// connections already.
    pub(super) fn admit_source(&mut self, conn: &Conn) -> bool {
        if self.counted
            || !conn.shared.admission.has_limit_per_ip()
            || self.inbound.proxy.is_expected()
        {
            return true;
        }
        self.counted = true;
        let may = self
            .counted_source(conn)
            .is_none_or(|source| conn.shared.admission.enter_from(source));
        self.counted = may;
        may
    }

    /// The address that counts towards the limit per address, if it has been counted.
    pub(super) fn counted_source(&self, conn: &Conn) -> Option<SocketAddr> {
        let source = self.inbound.proxy.source().or(conn.ends().peer);
        source.filter(|_| self.counted)
    }

    /// Responds to a broken rule; the connection ends after that.
    fn violated(&mut self, conn: &Arc<Conn>, violation: Violation, fresh: &[u8]) {
        let head = self.inbound.is_head();
        let mut response = Vec::with_capacity(256);
        conn.shared.error(&mut response, violation, head);
        self.log_refused(conn, fresh);
        self.log_response(violation.status(), &response);
        // Further input is ignored, but must not cause a reset, which could lose the response.
        self.inbound.drop_input();
        conn.shared.tally.request();
        conn.shared.tally.status(violation.status());
        self.transport.write(&response, &[]);
        self.finish_connection();
        conn.shared.notice(Notice::Violation(violation));
    }
}
