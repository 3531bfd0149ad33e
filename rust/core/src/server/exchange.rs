//! One request and its response: what user code holds, from any thread.
//!
//! An [`Exchange`] does not show how its request came. Only this file and those of the connection know that it was by
//! HTTP/1.1: another protocol gets a second kind of exchange here, and no caller is changed.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Conn;
use super::output::{Kept, Payload};
use super::request::put_name;
use super::socket::Ends;
use super::types::{Encoded, Event, Interest, Pings, Reply, Sent};
use crate::ws::Opcode;

/// One request and its response. Once that is over (the response is complete, or the peer left) every call is refused:
/// a late response finds nothing to write to.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub(super) conn: Arc<Conn>,
    pub(super) seq: u32,
}

/// A whole request, on its way to user code.
#[derive(Debug)]
pub struct Request {
    /// Where the response goes.
    pub exchange: Exchange,
    pub(super) block: Vec<u8>,
    pub(super) arrived: Instant,
}

/// Something that user code has to see.
#[derive(Debug)]
pub enum Work {
    /// A whole request, body included.
    Request(Request),
    /// Messages or the closing of a channel wait: [`Exchange::take_events`].
    Events(Exchange),
}

impl Work {
    /// Since when it waits.
    pub(super) fn since(&self) -> Instant {
        match self {
            Self::Request(request) => request.arrived,
            Self::Events(_) => Instant::now(),
        }
    }
}

impl Request {
    /// The block of bytes that [`super::request`] describes, completed with the embedder's `name` of the
    /// exchange.
    pub fn into_block(mut self, name: i64) -> Vec<u8> {
        put_name(&mut self.block, name);
        // The embedder copies it.
        self.exchange.conn.shared.note_freed(self.block.len());
        self.block
    }
}

/// What became of a whole response, or of a piece of its body.
#[derive(Debug)]
pub enum Answered {
    /// The exchange was over: nothing was written.
    Stale,
    /// More of the announced body has to come.
    More,
    /// The response is complete; the connection's next request, when the caller asked for it.
    Done(Option<Request>),
}

impl Exchange {
    /// Binds the embedder's name for this exchange; false when it is over already.
    pub fn bind(&self, name: i64) -> bool {
        self.conn.bind(self.seq, name)
    }

    /// Responds, with the first piece of a body of `total` bytes. All of `body` when they are as long.
    pub fn respond(&self, reply: &Reply<'_>, body: &[u8], total: u64) -> Answered {
        self.conn.respond(self.seq, reply, body, total)
    }

    /// Responds with the first `len` bytes of `file`, which are read as the peer takes them: up to
    /// then nothing of them is in memory, and no thread waits.
    pub fn respond_file(&self, reply: &Reply<'_>, file: File, len: u64) -> Answered {
        self.conn.respond_file(self.seq, reply, file, len)
    }

    /// The next piece of the body that [`Self::respond`] announced. What the socket does not take is
    /// copied, without a limit: for short ones.
    pub fn body(&self, piece: &[u8], flags: u32) -> Answered {
        self.conn.body(self.seq, piece, flags)
    }

    /// As much of the next piece of the body as the socket takes at once, and how much that was; nothing of the
    /// rest is kept.
    pub fn offer(&self, piece: &[u8], flags: u32) -> (usize, Answered) {
        self.conn.offer(self.seq, piece, flags)
    }

    /// The next piece of the body, which is copied from where it is kept as the peer takes it.
    pub fn rest(&self, kept: Kept, flags: u32) -> Answered {
        self.conn.rest(self.seq, kept, flags)
    }

    /// Sends a response that the embedder has encoded itself, as it is. `bytes` hold the whole head;
    /// `more` bytes follow. `interest` counts if it opens a WebSocket.
    ///
    /// The connection goes on if request and response allow it and the peer can tell where the
    /// response ends. A body where none is allowed, as after HEAD, is left out.
    pub fn respond_encoded(&self, bytes: &[u8], more: u64, interest: Interest) -> Encoded {
        self.conn.respond_encoded(self.seq, bytes, more, interest)
    }

    /// Starts a response of unknown length, and sends its first piece with the head.
    pub fn stream<'a>(&self, reply: &Reply<'_>, first: impl Into<Payload<'a>>) -> Sent {
        self.conn.stream(self.seq, reply, first.into())
    }

    /// The next piece of a streamed response; nothing is sent for an empty one. Refused while `limit`
    /// bytes or more wait, which lets a single large piece pass.
    pub fn chunk<'a>(&self, piece: impl Into<Payload<'a>>, flags: u32, limit: usize) -> Sent {
        self.conn.chunk(self.seq, piece.into(), flags, limit)
    }

    /// Asks for [`super::Sink::on_drained`] if `limit` bytes or more wait, on the terms of [`INSIST`](super::INSIST). False
    /// if there is room, or no peer to send to.
    pub fn await_room(&self, limit: usize) -> bool {
        self.conn.await_room(self.seq, limit)
    }

    /// Ends a streamed response.
    pub fn end(&self) -> Sent {
        self.conn.end(self.seq)
    }

    /// Responds with 503: no thread can run the request. Returns the connection's next one.
    pub(crate) fn refuse(&self) -> Option<Request> {
        self.conn.refuse(self.seq)
    }

    /// Responds with 503 and puts the connection's next request into the queue.
    pub fn refuse_all(&self) {
        self.conn.refuse_all(self.seq);
    }

    /// User code keeps the exchange as a channel: it wants to hear when the peer leaves, even by
    /// ending only its own side. False when the peer has left.
    pub fn hold(&self) -> bool {
        self.conn.hold(self.seq)
    }

    /// Switches to WebSocket, with `headers` (complete field lines) in the 101.
    pub fn upgrade(&self, headers: &[u8], interest: Interest, pings: Option<Pings>) -> bool {
        self.conn.upgrade(self.seq, headers, interest, pings)
    }

    /// Changes what is reported on a WebSocket.
    pub fn listen(&self, interest: Interest) {
        self.conn.listen(self.seq, interest);
    }

    /// Sends one WebSocket frame: a whole message, a ping or a pong. Refused as [`Self::chunk`] is.
    pub fn message<'a>(
        &self,
        opcode: Opcode,
        payload: impl Into<Payload<'a>>,
        flags: u32,
        limit: usize,
    ) -> Sent {
        self.conn
            .message(self.seq, opcode, payload.into(), flags, limit)
    }

    /// Starts the close handshake. True for the call that did it.
    pub fn close(&self, code: u16, reason: &str) -> bool {
        self.conn.close_ws(self.seq, code, reason)
    }

    /// The callback whose sends were marked [`CORK`](super::CORK) is over: what was gathered leaves.
    pub fn settle(&self) {
        self.conn.settle(self.seq);
    }

    /// Cuts the connection. True when it was still there.
    pub fn abort(&self) -> bool {
        self.conn.abort(self.seq)
    }

    /// Whether the exchange is still going on and the peer is there.
    pub fn is_open(&self) -> bool {
        self.conn.is_open(self.seq)
    }

    /// Bytes accepted and not yet written.
    pub fn pending_bytes(&self) -> usize {
        self.conn.pending(self.seq)
    }

    /// Asks for [`super::Sink::on_drained`] once all bytes are written. False if they are.
    pub fn when_drained(&self) -> bool {
        self.conn.when_drained(self.seq)
    }

    /// The name given with [`Self::bind`], 0 before.
    pub fn name(&self) -> i64 {
        self.conn.name(self.seq)
    }

    /// The events that wait, in order. Until it has returned none at all, no other thread is
    /// told of the channel's events: they are one chain.
    pub fn take_events(&self) -> Vec<Event> {
        self.conn.take_events(self.seq)
    }

    /// No thread can run the channel's events: closes it with 1013.
    pub fn overload(&self) {
        self.conn.overload(self.seq);
    }

    /// Local and peer address, `None` on Unix domain sockets.
    pub fn addresses(&self) -> Option<(std::net::SocketAddr, std::net::SocketAddr)> {
        let Ends { local, peer } = self.conn.ends();
        Some((local?, peer?))
    }
}
