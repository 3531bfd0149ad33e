//! Small types of the server's interface.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Socket, Type};

use crate::net::platform::{self, OwnedSocket};

/// Where to listen.
#[derive(Debug, Clone)]
pub enum Address {
    /// TCP; `0.0.0.0` listens on IPv6 as well.
    Inet(SocketAddr),
    /// A Unix domain socket's path.
    Unix(PathBuf),
    /// A socket that listens already.
    Lent(Lent),
}

/// A listening socket that another process, or another part of this one, has opened and keeps: a stop of the server
/// does not end it, and what waits in its backlog then stays there.
#[derive(Debug, Clone)]
pub struct Lent(pub(super) Arc<Socket>);

impl Lent {
    /// The socket behind a descriptor, which should be a duplicate.
    ///
    /// # Errors
    /// If it is none, or not a stream socket that listens.
    pub fn new(socket: OwnedSocket) -> io::Result<Self> {
        let socket = Socket::from(socket);
        if socket.r#type()? == Type::STREAM && platform::listens(&socket)? {
            Ok(Self(Arc::new(socket)))
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Inet(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
            Self::Lent(_) => f.write_str("a socket that was lent"),
        }
    }
}

/// Status and header fields of a response, as the handler gave them.
#[derive(Debug, Clone, Copy)]
pub struct ResponseHead<'a> {
    /// 200-999; interim responses are sent by [`Exchange::inform`](super::Exchange::inform), or by the core itself.
    pub status: u16,
    /// Complete field lines, each with its CRLF; no Content-Length, no Transfer-Encoding.
    pub headers: &'a [u8],
    /// `GIVEN_*`, [`CLOSE`] and [`INLINE`] bits; how it is compressed at [`GZIP_LEVEL`] and [`GZIP_WINDOW`].
    pub flags: u32,
    /// A Content-Length for a response that carries no content (HEAD, 304), -1 for that of the body, or
    /// [`UNKNOWN_LENGTH`].
    pub declared: i64,
}

/// Why no thread runs a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is too much work; the request counts as rejected.
    Overload,
    /// The server stops.
    Stopping,
}

/// What a stopping server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Responses, but not open channels, which may have no end.
    Stopped,
    /// Open channels, too, and the ends of its listeners.
    Drained,
}

/// A response to HEAD declares no length: that of the response to GET is not known.
pub const UNKNOWN_LENGTH: i64 = -2;

/// The handler gave or suppressed Date.
pub const GIVEN_DATE: u32 = 1;
/// The handler gave or suppressed Server.
pub const GIVEN_SERVER: u32 = 2;
/// The handler gave a Connection header, which is among the fields.
pub const GIVEN_CONNECTION: u32 = 4;
/// The connection ends after this response.
pub const CLOSE: u32 = 8;
/// The caller will run the connection's next pipelined request itself, immediately.
pub const INLINE: u32 = 16;
/// The send is made inside a callback or handler, and more may follow: it may be held back for at most a millisecond,
/// to be combined with them.
pub const CORK: u32 = 32;

/// The outcome of a response that the embedder encoded itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoded {
    /// It does not start with the head of a final response: nothing was written, the exchange stays open.
    Malformed,
    /// The exchange was over: nothing was written.
    Stale,
    /// The rest must follow, through [`Exchange::send_body`](super::Exchange::send_body).
    More,
    /// The response is complete.
    Done,
    /// It was a 101 to a WebSocket request: the connection is a WebSocket from now on.
    Upgraded,
}

/// The outcome of a message or chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Accepted: written or queued.
    Accepted,
    /// The channel is closed.
    Closed,
    /// Refused: queued bytes have reached the caller's limit. [`super::Sink::on_drained`] follows once they are
    /// written.
    Full,
}

/// An event on a channel, for user code.
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
    /// The peer has ended its side, and may be gone; a response is still sent if it comes soon. Only with
    /// [`super::Config::tell_half_close`], once per request.
    HalfClosed,
    /// The channel is closed, as [`Event::Closed`] will report after all queued events. Comes first in its batch, once,
    /// for callbacks that run until they are told. See [`super::Sink::on_closing`].
    Closing(i32, String),
    /// The last event: why the channel closed. A WebSocket close code, 0 (the server closed) or -1 (an HTTP client
    /// disconnected).
    Closed(i32, String),
}

/// Pings that the core sends on a WebSocket by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pings {
    /// A ping is sent whenever nothing has been received for this time.
    pub interval: Duration,
    /// The connection is cut when nothing has been received for this time after a ping.
    pub timeout: Duration,
}

/// Which events a WebSocket's user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Interest {
    /// Report pings.
    pub pings: bool,
    /// Report pongs.
    pub pongs: bool,
    /// Leave pongs to user code.
    pub manual_pong: bool,
}

/// A server's stage between start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Accepting,
    Draining,
    Closed,
}

/// Where a response's flags have the level; 0 there is no coding.
pub const GZIP_LEVEL: u32 = 8;
/// Where they have the window's size as a power of two.
pub const GZIP_WINDOW: u32 = 12;

/// How a response is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gzip {
    /// 1 (fast) to 9 (small).
    pub level: u8,
    /// A stream remembers two to the power of this many bytes of its text: 9 to 15.
    pub window_bits: u8,
}

impl Gzip {
    /// The coding that a response's flags ask for.
    pub fn of(flags: u32) -> Option<Self> {
        let level = (flags >> GZIP_LEVEL & 15) as u8;
        let window_bits = (flags >> GZIP_WINDOW & 15) as u8;
        (level > 0).then_some(Self {
            level: level.min(9),
            window_bits: window_bits.max(9),
        })
    }
}
