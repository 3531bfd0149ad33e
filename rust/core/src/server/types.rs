//! Small types of the server's interface: values without behaviour.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Address {
    /// TCP; `0.0.0.0` listens on IPv6 as well.
    Inet(SocketAddr),
    /// A Unix domain socket's path.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// Status and header fields of a response, as the handler gave them.
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// 200-999; interim responses are the core's business.
    pub status: u16,
    /// Complete field lines, each with its CRLF; no Content-Length, no Transfer-Encoding.
    pub headers: &'a [u8],
    /// `GIVEN_*`, [`CLOSE`] and [`INLINE`] bits.
    pub flags: u32,
    /// A Content-Length for a response that carries no content (HEAD, 304), or -1.
    pub declared: i64,
}

/// The handler gave or suppressed Date.
pub const GIVEN_DATE: u32 = 1;
/// The handler gave or suppressed Server.
pub const GIVEN_SERVER: u32 = 2;
/// The handler gave a Connection header, which is among the fields.
pub const GIVEN_CONNECTION: u32 = 4;
/// The connection ends after this response.
pub const CLOSE: u32 = 8;
/// The caller will run the connection's next pipelined request itself, at once.
pub const INLINE: u32 = 16;
/// The send is made inside a callback or handler, more may follow at once: it may be gathered with
/// what follows for at most a millisecond.
pub const CORK: u32 = 32;
/// A sender that is refused for want of room waits for it: a peer that takes less than 1 KiB in
/// [`super::Config::unread_time`] meanwhile is cut off.
pub const INSIST: u32 = 64;

/// What became of a response that the embedder encoded itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// It has no head of a final response: nothing was written, the exchange goes on.
    Malformed,
    /// The exchange was over: nothing was written.
    Stale,
    /// The rest of it has to come, through [`Exchange::body`](super::Exchange::body).
    More,
    /// The response is complete.
    Done,
    /// It was a 101 to a request for a WebSocket, which the connection is from now on.
    Upgraded,
}

/// What became of a message or chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Accepted: written or queued.
    Accepted,
    /// The channel is closed.
    Closed,
    /// Refused: as many earlier bytes as the caller's limit still wait.
    /// [`super::Sink::on_drained`] follows once they are out.
    Full,
}

/// What user code hears on a channel.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A text message, checked to be UTF-8.
    Text(Vec<u8>),
    /// A binary message.
    Binary(Vec<u8>),
    /// A ping; the pong has been sent unless that was left to user code.
    Ping(Vec<u8>),
    /// A pong.
    Pong(Vec<u8>),
    /// The peer has ended its side, and may be gone; a response is still sent, if it comes soon. Only with
    /// [`super::Config::tell_half_close`], once a request.
    HalfClosed,
    /// The channel is closed, as [`Event::Closed`] will say behind these events and others that wait. Comes
    /// first, once, for callbacks that go on until they hear of it. See [`super::Sink::on_closing`].
    Closing(i32, String),
    /// The last event: why the channel closed. A WebSocket close code, 0 (the server closed) or -1
    /// (an HTTP client left).
    Closed(i32, String),
}

/// Pings that the core sends by itself on a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pings {
    /// A ping is sent whenever nothing has been received for this time.
    pub interval: Duration,
    /// The connection is cut when nothing has been received for this time after a ping.
    pub timeout: Duration,
}

/// What a WebSocket's user wants to hear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interest {
    /// Report pings.
    pub pings: bool,
    /// Report pongs.
    pub pongs: bool,
    /// Leave pongs to user code.
    pub manual_pong: bool,
}

/// How far a server is on its way from its start to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Accepting,
    Draining,
    Closed,
}
