//! One request and its response, as user code holds it; usable from any thread.
//!
//! An [`Exchange`] hides the protocol of its request. Only this file and those of the connection know that it is
//! HTTP/1.1: another protocol adds a second kind of exchange here, and no caller changes.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::body::Read;
use super::budget::Budget;
use super::connection::Conn;
use super::payload::{Body, Kept, Payload};
use super::request::put_name;
use super::shared::Shared;
use super::socket::Ends;
use super::tls::TlsInfo;
use super::types::{Encoded, Event, Gzip, Interest, Pings, Refusal, ResponseHead, Sent};
use crate::ws::Opcode;

/// One request and its response. Once it is over (the response is complete, or the peer has disconnected), every call
/// is refused, so a late response is never written.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub(super) conn: Arc<Conn>,
    pub(super) seq: u32,
}

/// A request on its way to user code: complete, unless the rest of its body follows.
#[derive(Debug)]
pub struct Request {
    /// Where the response goes.
    pub exchange: Exchange,
    pub(super) block: Block,
    pub(super) arrived: Instant,
}

/// Something that user code must handle.
#[derive(Debug)]
pub enum Work {
    /// A request. Its body is included, unless it is read as it arrives.
    Request(Request),
    /// Messages or the close of a channel are queued: [`Exchange::take_events`].
    Events(Exchange),
}

impl Work {
    pub(super) fn conn(&self) -> &Conn {
        match self {
            Self::Request(request) => &request.exchange.conn,
            Self::Events(exchange) => &exchange.conn,
        }
    }

    /// When it was queued, or its request arrived.
    pub(super) fn since(&self) -> Instant {
        match self {
            Self::Request(request) => request.arrived,
            Self::Events(_) => Instant::now(),
        }
    }
}

impl Request {
    /// The block of bytes that [`super::request`] describes, completed with the embedder's `name` for the exchange.
    pub fn into_block(self, name: i64) -> Vec<u8> {
        let shared = &self.exchange.conn.shared;
        let mut block = self.block.into_bytes();
        put_name(&mut block, name);
        // The embedder copies it, and then frees it.
        shared.note_freed(block.len());
        block
    }
}

/// A request's block. A long one counts in the server's [`Budget`] until a thread takes it.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Vec<u8>,
    counted: Option<Arc<Shared>>,
}

impl Block {
    pub(super) fn new(bytes: Vec<u8>, shared: &Arc<Shared>) -> Self {
        let counted = Budget::units(bytes.len()) > 0;
        let block = Self {
            counted: counted.then(|| shared.clone()),
            bytes,
        };
        if let Some(shared) = &block.counted {
            shared.budget.change(0, Budget::units(block.bytes.len()));
        }
        block
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.uncount();
        std::mem::take(&mut self.bytes)
    }

    fn uncount(&mut self) {
        if let Some(shared) = self.counted.take() {
            shared.budget.change(Budget::units(self.bytes.len()), 0);
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.uncount();
    }
}

/// The outcome of a whole response, or of a piece of its body.
#[derive(Debug)]
pub enum Responded {
    /// The exchange was over: nothing was written.
    Stale,
    /// More of the announced body must follow.
    More,
    /// The response is complete. Holds the connection's next request if the caller asked for it.
    Done(Option<Request>),
}

impl Exchange {
    /// Binds the embedder's name for this exchange; false if it is already over.
    pub fn bind(&self, name: i64) -> bool {
        self.conn.bind(self.seq, name)
    }

    /// Responds, with the first piece of a body of `total` bytes. It may be the whole body.
    pub fn respond(&self, response: &ResponseHead<'_>, body: &[u8], total: u64) -> Responded {
        self.conn
            .respond(self.seq, response, Body::Apart(body), total)
    }

    /// Responds with a whole body: `bytes` without the first `room`. The head is put there if it fits, so that both
    /// leave in one write although the body is not copied.
    ///
    /// # Panics
    ///
    /// If `room` is larger than `bytes`.
    pub fn respond_in_place(
        &self,
        response: &ResponseHead<'_>,
        bytes: &mut [u8],
        room: usize,
    ) -> Responded {
        let total = (bytes.len() - room) as u64;
        self.conn
            .respond(self.seq, response, Body::Behind { bytes, room }, total)
    }

    /// A whole body, compressed. Notes the memory that this took as freed, so that the allocator returns it.
    pub fn code(&self, how: Gzip, body: &[u8]) -> Vec<u8> {
        let coded = how.whole(body);
        self.conn.shared.note_freed(body.len() + coded.len());
        coded
    }

    /// Responds with the `len` bytes of `file` from `at` on, which are read only as the peer takes them. Until then
    /// they are not in memory, and no thread is blocked.
    pub fn respond_file(
        &self,
        response: &ResponseHead<'_>,
        file: File,
        at: u64,
        len: u64,
    ) -> Responded {
        self.conn.respond_file(self.seq, response, (file, at), len)
    }

    /// The next piece of the body that [`Self::respond`] announced. What the socket does not accept is copied, without
    /// a limit, so use it for short pieces.
    pub fn send_body(&self, piece: &[u8], flags: u32) -> Responded {
        self.conn.send_body(self.seq, piece, flags)
    }

    /// Writes as much of the next piece of the body as the socket accepts now, and returns how much that was. The rest
    /// is not kept.
    pub fn offer_body(&self, piece: &[u8], flags: u32) -> (usize, Responded) {
        self.conn.offer_body(self.seq, piece, flags)
    }

    /// The next piece of the body, copied from where it is kept as the peer takes it.
    pub fn send_rest(&self, kept: Kept, flags: u32) -> Responded {
        self.conn.send_rest(self.seq, kept, flags)
    }

    /// Sends a response that the embedder has encoded, unchanged. `bytes` contain the whole head; `more` bytes follow.
    /// `interest` applies if the response opens a WebSocket.
    ///
    /// The connection is kept if request and response allow it and the response has a clear end. A body that is not
    /// allowed, as after HEAD, is dropped.
    pub fn respond_encoded(&self, bytes: &[u8], more: u64, interest: Interest) -> Encoded {
        self.conn.respond_encoded(self.seq, bytes, more, interest)
    }

    /// Reads what has arrived of a body that follows its request, see [`Config::request_buffer`](super::Config). What
    /// has arrived can be read even if the connection is lost.
    pub fn read_body(&self, into: &mut [u8]) -> Read {
        self.conn.read_body(self.seq, into)
    }

    /// Names, in lower case, and values of the trailers of a body that has been read to its end.
    pub fn trailers(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.conn.trailers(self.seq)
    }

    /// Sends an informational response, with `headers` (complete field lines). False if the response has begun or the
    /// peer does not know of them.
    pub fn inform(&self, status: u16, headers: &[u8]) -> bool {
        self.conn.inform(self.seq, status, headers)
    }

    /// The status and the text for a body that breaks a rule or a time limit, once a read has failed for that.
    pub fn body_fault(&self) -> Option<(u16, String)> {
        self.conn.body_fault(self.seq)
    }

    /// Starts a response of unknown length, and sends its first piece with the head.
    pub fn stream<'a>(&self, response: &ResponseHead<'_>, first: impl Into<Payload<'a>>) -> Sent {
        self.conn.stream(self.seq, response, first.into())
    }

    /// The next piece of a streamed response; nothing is sent for an empty one. Refused while `limit` bytes or more are
    /// queued; a single large piece is always accepted.
    pub fn send_chunk<'a>(&self, piece: impl Into<Payload<'a>>, flags: u32, limit: usize) -> Sent {
        self.conn.send_chunk(self.seq, piece.into(), flags, limit)
    }

    /// Asks for [`super::Sink::on_drained`] if `limit` bytes or more are queued. False if there is room, or the peer
    /// has disconnected.
    pub fn await_room(&self, limit: usize) -> bool {
        self.conn.await_room(self.seq, limit)
    }

    /// Sends [`HEARTBEAT`](super::HEARTBEAT) on a streamed response of events whenever nothing was sent for `interval`.
    /// False if there is none.
    pub fn heartbeat(&self, interval: Duration) -> bool {
        self.conn.heartbeat(self.seq, interval)
    }

    /// Ends a streamed response. If none has begun, ends the connection instead, which HTTP/1.0 allows.
    pub fn end_stream(&self) -> Sent {
        self.conn.end_stream(self.seq)
    }

    /// Responds with 503: no thread can run the request. Returns the connection's next one.
    pub(crate) fn refuse(&self, why: Refusal) -> Option<Request> {
        self.conn.refuse(self.seq, why)
    }

    /// Responds with 503 and queues the connection's next request.
    pub fn refuse_all(&self, why: Refusal) {
        self.conn.refuse_all(self.seq, why);
    }

    /// User code keeps the exchange as a channel and wants to be told when the peer disconnects or half-closes. False
    /// if the peer has disconnected.
    pub fn watch_peer(&self) -> bool {
        self.conn.watch_peer(self.seq)
    }

    /// Switches to WebSocket, with `headers` (complete field lines) in the 101.
    pub fn upgrade(&self, headers: &[u8], interest: Interest, pings: Option<Pings>) -> bool {
        self.conn.upgrade(self.seq, headers, interest, pings)
    }

    /// Changes which events of a WebSocket are reported.
    pub fn set_interest(&self, interest: Interest) {
        self.conn.set_interest(self.seq, interest);
    }

    /// Sends one WebSocket frame: a whole message, a ping or a pong. Refused as [`Self::send_chunk`] is.
    pub fn send_frame<'a>(
        &self,
        opcode: Opcode,
        payload: impl Into<Payload<'a>>,
        flags: u32,
        limit: usize,
    ) -> Sent {
        self.conn
            .send_frame(self.seq, opcode, payload.into(), flags, limit)
    }

    /// Starts the close handshake. True for the call that did it.
    pub fn close(&self, code: u16, reason: &str) -> bool {
        self.conn.close_ws(self.seq, code, reason)
    }

    /// The callback whose sends were marked [`CORK`](super::CORK) is over: flushes their bytes.
    pub fn uncork(&self) {
        self.conn.uncork(self.seq);
    }

    /// Cuts the connection. True when it was still there.
    pub fn abort(&self) -> bool {
        self.conn.abort(self.seq)
    }

    /// Whether the exchange is in progress and the peer is connected.
    pub fn is_open(&self) -> bool {
        self.conn.is_open(self.seq)
    }

    /// Bytes accepted and not yet written.
    pub fn pending_bytes(&self) -> usize {
        self.conn.pending(self.seq)
    }

    /// Whether all bytes are written: `Accepted`; `Closed` if they are not, and the exchange is over; or else `Full`:
    /// then [`super::Sink::on_drained`] follows.
    pub fn when_drained(&self) -> Sent {
        self.conn.when_drained(self.seq)
    }

    /// The name given with [`Self::bind`], 0 before.
    pub fn name(&self) -> i64 {
        self.conn.name(self.seq)
    }

    /// The queued events, in order. Does what [`Self::uncork`] does. They form one chain: until this has returned none,
    /// no other thread is told of the channel's events.
    pub fn take_events(&self) -> Vec<Event> {
        self.conn.take_events(self.seq)
    }

    /// A broadcast to many channels: runs `send` for each number below `channels`, and returns the outcomes. If there are
    /// many, the loops of this exchange's server help.
    pub fn broadcast(
        &self,
        channels: usize,
        send: impl Fn(usize) -> Sent + Send + Sync + 'static,
    ) -> Vec<Sent> {
        self.conn.shared.broadcasts.make(channels, send)
    }

    /// No thread can run the channel's events: closes it with 1013.
    pub fn overload(&self) {
        self.conn.overload(self.seq);
    }

    /// The TLS session under it, `None` if there is none, or the exchange is over.
    pub fn tls(&self) -> Option<TlsInfo> {
        self.conn.tls_info(self.seq)
    }

    /// Local and peer address, `None` on Unix domain sockets.
    pub fn addresses(&self) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
        let Ends { local, peer } = self.conn.ends();
        Some((local?, peer?))
    }
}
