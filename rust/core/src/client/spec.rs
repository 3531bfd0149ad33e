//! The settings of a client, and the specification of a call.

use crate::net::platform::BorrowedSocket;
use crate::net::tls::TlsMode;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// The settings of a client.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// Most connections, idle ones included; `None` = no limit.
    pub max_connections: Option<usize>,
    /// Most connections per host name, route and port of the address, whatever the address.
    pub max_per_host: Option<usize>,
    /// Local address of every connection.
    pub bind: Option<Address>,
    /// How many written bytes of a socket the kernel still holds, because its peer has not taken them.
    pub unsent: Option<fn(BorrowedSocket<'_>) -> u64>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6
    Inet(SocketAddr),
    /// Unix domain socket; a leading NUL names an abstract one.
    Unix(PathBuf),
}

/// The methods that are treated differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// May be repeated on a fresh connection.
    Get,
    /// Likewise; its response has no body.
    Head,
    /// Never repeated.
    Other,
}

/// How the request reaches its target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Straight to the addresses: the target, or a plain proxy.
    Direct,
    /// Through an HTTP proxy by CONNECT.
    Tunnel {
        /// Target host, IPv6 without brackets.
        host: String,
        /// Target port.
        port: u16,
        /// Value of Proxy-Authorization, empty = none.
        authorization: String,
        /// TLS to the proxy itself, with the name to check.
        tls: Option<(TlsMode, String)>,
    },
    /// Through a SOCKS5 proxy that resolves the name.
    Socks5 {
        /// Target host.
        host: String,
        /// Target port.
        port: u16,
        /// User and password.
        credentials: Option<(String, String)>,
    },
}

/// How the body follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// [`CallSpec::body`], which may be empty.
    Whole,
    /// Pieces of this total length.
    Length(u64),
    /// Pieces, sent as chunks.
    Chunked,
}

/// A peer's time when its timeout is 0, as in http-kit, which checks timeouts on events, and otherwise every 200 ms.
const MOMENT: Duration = Duration::from_millis(200);

/// How often in a peer's time we look whether it has taken some of what was written.
const LOOKS: u32 = 8;

/// A user's number of milliseconds, kept as given because error texts show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub i32);

impl Millis {
    pub(super) fn after(self, start: Instant) -> Instant {
        let millis = u64::try_from(self.0).unwrap_or(0);
        start + Duration::from_millis(millis)
    }

    /// As [`after`](Millis::after), for waits for the peer: 0 means [`MOMENT`].
    pub(super) fn patience(self, start: Instant) -> Instant {
        match self.0 {
            0 => start + MOMENT,
            _ => self.after(start),
        }
    }

    /// When to look at the send queue after `start`.
    pub(super) fn look(self, start: Instant) -> Instant {
        start + (self.patience(start) - start) / LOOKS
    }
}

impl CallSpec {
    pub(super) fn has_body(&self) -> bool {
        self.upload != Upload::Whole || !self.body.is_empty()
    }
}

/// The timeouts of a call.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the call to its connection, queueing included; 0 lasts 200 ms.
    pub connect: Millis,
    /// From the connection on; restarted by every byte either way, also by those that the peer takes from the kernel.
    /// 0 lasts 200 ms. Not counted while the body's source, or the reader of the response, is waited for.
    pub idle: Millis,
    /// How long the connection stays in the pool afterwards; 0 or less: the call neither takes a pooled connection nor
    /// returns its own.
    pub keepalive: Millis,
    /// From the call to the last byte; with the number to show in the error text.
    pub deadline: Option<(Millis, Millis)>,
    /// Longest time in the queue.
    pub pool: Option<Millis>,
}

/// A request, ready to send.
#[derive(Clone, Debug)]
pub struct CallSpec {
    /// Hand the response out piece by piece.
    pub streamed: bool,
    /// Do not undo the content coding.
    pub raw: bool,
    /// The embedder runs the connection.
    pub hosted: bool,
    /// The embedder can do so if our TLS and the peer have nothing in common.
    pub hosted_tls: bool,
    /// The method, where it matters.
    pub method: Method,
    /// TLS to the target (or to a plain proxy).
    pub tls: Option<TlsMode>,
    /// Send the name in the handshake.
    pub sni: bool,
    /// The route to the target.
    pub route: Route,
    /// How the body is sent.
    pub upload: Upload,
    /// Part of the pool key: connections of different policies do not mix.
    pub policy: i64,
    /// Most body bytes on the wire.
    pub max_wire: Option<u64>,
    /// Most body bytes after decoding.
    pub max_decoded: Option<u64>,
    /// Most body bytes that are handed out; without it, collected bytes are limited by
    /// [`Sink::room`](super::Sink::room).
    pub max_body: Option<u64>,
    /// The timeouts.
    pub timeouts: Timeouts,
    /// First read window of a streamed call, in bytes.
    pub window: usize,
    /// Part of the pool key: the host as the user wrote it.
    pub host: String,
    /// Name for the handshake and the certificate check.
    pub tls_name: String,
    /// Where to connect, in order.
    pub addresses: Vec<Address>,
    /// Request head with its empty line.
    pub head: Bytes,
    /// Body of [`Upload::Whole`].
    pub body: Bytes,
}

impl Default for Timeouts {
    /// A minute for each timeout, two for an idle connection, no deadline.
    fn default() -> Self {
        Self {
            connect: Millis(60_000),
            idle: Millis(60_000),
            keepalive: Millis(120_000),
            deadline: None,
            pool: None,
        }
    }
}

impl Default for CallSpec {
    /// A GET in the clear over a pooled connection; without addresses and head.
    fn default() -> Self {
        Self {
            streamed: false,
            raw: false,
            hosted: false,
            hosted_tls: false,
            method: Method::Get,
            tls: None,
            sni: true,
            route: Route::Direct,
            upload: Upload::Whole,
            policy: 0,
            max_wire: None,
            max_decoded: None,
            max_body: None,
            timeouts: Timeouts::default(),
            window: 256 * 1024,
            host: String::new(),
            tls_name: String::new(),
            addresses: Vec::new(),
            head: Bytes::new(),
            body: Bytes::new(),
        }
    }
}
