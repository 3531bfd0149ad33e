//! What a connection tells the access log. Without one, each of these is a check that there is none.
//!
//! Not here: exchanges that are not over yet (`journal.rs`), and records (`access.rs`).

use std::net::SocketAddr;
use std::time::Instant;

use super::access::Record;
use super::connection::{Conn, State};
use super::phase::Phase;
use super::request::{self, Draft};
use super::tls::Tls;
use crate::h1::RequestHead;

/// What the head of a response ends with.
const END_OF_HEAD: &[u8] = b"\r\n\r\n";
/// Most of a line that is no request line.
const MAX_LINE: usize = 1024;

impl State {
    /// A request has arrived.
    #[inline]
    pub(super) fn log_request(&mut self, block: &[u8], arrived: Instant) {
        if self.log.is_some() {
            self.add_request(block, arrived);
        }
    }

    fn add_request(&mut self, block: &[u8], arrived: Instant) {
        let mut record = Record::of_request(block);
        self.note_tls(&mut record);
        if let Some(log) = &mut self.log {
            log.add(record, arrived, request::body_len(block));
        }
    }

    /// The connection ends within the body of this request.
    pub(super) fn log_cut(&mut self, conn: &Conn, (block, arrived): (Vec<u8>, Instant)) {
        conn.shared.tally.request();
        self.log_request(&block, arrived);
    }

    /// As [`Self::log_cut`], of the request whose body is kept here, if there is one.
    pub(super) fn log_partial(&mut self, conn: &Conn) {
        if let Some(cut) = self.inbound.take_partial() {
            self.log_cut(conn, cut);
        }
    }

    /// Something that is no request, or one that is incomplete, gets a response. `fresh`: received, and not kept.
    pub(super) fn log_refused(&mut self, conn: &Conn, fresh: &[u8]) {
        if self.log.is_none() {
            return;
        }
        if let Some((block, arrived)) = self.inbound.take_partial() {
            return self.add_request(&block, arrived);
        }
        let peer = self.source(conn);
        let mut record = Record::of_line(first_line(self.inbound.unparsed(fresh)), peer);
        self.note_tls(&mut record);
        if let Some(log) = &mut self.log {
            log.add(record, Instant::now(), 0);
        }
    }

    /// A plain request came where TLS is spoken, with this head if it has one.
    pub(super) fn log_plain(&mut self, conn: &Conn, head: Option<&RequestHead>, bytes: &[u8]) {
        let peer = self.source(conn);
        let record = match head {
            _ if self.log.is_none() => return,
            Some(head) => {
                let draft = Draft::new(head, bytes, peer, None, 0);
                Record::of_request(&draft.finish(&[], &[]).0)
            }
            None => Record::of_line(first_line(bytes), peer),
        };
        if let Some(log) = &mut self.log {
            log.add(record, Instant::now(), 0);
        }
    }

    fn source(&self, conn: &Conn) -> Option<SocketAddr> {
        self.inbound.proxy.source().or(conn.ends().peer)
    }

    fn note_tls(&self, record: &mut Record) {
        if let Some(version) = self.transport.tls().and_then(Tls::version) {
            record.tls(version);
        }
    }

    /// The head of a response, of this length, is about to be written.
    #[inline]
    pub(super) fn log_head(&mut self, status: u16, length: usize) {
        if let Some(log) = &mut self.log {
            log.begin(status, self.transport.position() + length as u64);
        }
    }

    /// A whole response that the server makes itself is about to be written.
    pub(super) fn log_response(&mut self, status: u16, response: &[u8]) {
        if let Some(log) = &mut self.log {
            let mut windows = response.windows(END_OF_HEAD.len());
            let head = windows.position(|window| window == END_OF_HEAD);
            let head = head.map_or(response.len(), |at| at + END_OF_HEAD.len());
            let position = self.transport.position();
            log.begin(status, position + head as u64);
            log.end(position + response.len() as u64);
        }
    }

    /// The response is written or queued.
    #[inline]
    pub(super) fn log_end(&mut self) {
        if let Some(log) = &mut self.log {
            log.end(self.transport.position());
            self.settle_log();
        }
    }

    #[inline]
    pub(super) fn log_received(&mut self, bytes: usize) {
        if let Some(log) = &mut self.log {
            log.received(bytes);
        }
    }

    pub(super) fn log_timeout(&mut self) {
        if let Some(log) = &mut self.log {
            log.time_out();
        }
    }

    /// The peer does not read.
    pub(super) fn log_write_timeout(&mut self) {
        if let Some(log) = &mut self.log {
            log.time_out_all();
        }
    }

    /// Something may have been written.
    #[inline]
    pub(super) fn settle_log(&mut self) {
        if let Some(log) = &mut self.log
            && !self.transport.is_broken()
        {
            log.settle(self.transport.sent());
        }
    }

    /// The connection is over.
    pub(super) fn close_log(&mut self) {
        self.settle_log();
        // Of a WebSocket, a close frame is the last that was queued.
        let closed = (matches!(self.phase, Phase::Lingering) || self.is_closing_websocket())
            && self.transport.all_is_written()
            && !self.transport.is_broken();
        if let Some(log) = &mut self.log {
            log.close(self.transport.sent(), closed);
        }
    }

    /// Bytes of responses that the peer has not read, and what the access log keeps of them.
    pub(super) fn unread_responses(&self) -> usize {
        self.transport.pending() + self.log.as_ref().map_or(0, |log| log.len())
    }
}

/// Without the line's end.
fn first_line(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len()).min(MAX_LINE)];
    line.strip_suffix(b"\r").unwrap_or(line)
}
