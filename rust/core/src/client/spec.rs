//! What a client is made with, and what a call asks for.

use crate::net::tls::TlsMode;
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// What a client is made with.
#[derive(Clone, Debug, Default)]
pub struct ClientConfig {
    /// Most connections, idle ones included; `None` = no limit.
    pub max_connections: Option<usize>,
    /// Most connections per host and port.
    pub max_per_host: Option<usize>,
    /// Local address of every connection.
    pub bind: Option<Address>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// IPv4 or IPv6
    Inet(SocketAddr),
    /// Unix domain socket; a leading NUL names an abstract one.
    Unix(PathBuf),
}

/// The methods that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// May be repeated on a fresh connection.
    Get,
    /// Likewise; its response has no body.
    Head,
    /// Never repeated.
    Other,
}

/// How the request gets to its target.
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

/// What follows the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upload {
    /// [`CallSpec::body`], maybe empty.
    Whole,
    /// Pieces of this total length.
    Length(u64),
    /// Pieces, sent as chunks.
    Chunked,
}

/// What a peer has time for when its timeout is 0, as with http-kit: that
/// looks at its timeouts when something happens, and else every 200 ms.
const MOMENT: Duration = Duration::from_millis(200);

/// A user's number of milliseconds: kept as given, since error texts show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub i32);

impl Millis {
    pub(super) fn after(self, start: Instant) -> Instant {
        let millis = u64::try_from(self.0).unwrap_or(0);
        start + Duration::from_millis(millis)
    }

    /// As [`after`](Millis::after), for waits of the peer: of 0 they last a moment.
    pub(super) fn patience(self, start: Instant) -> Instant {
        match self.0 {
            0 => start + MOMENT,
            _ => self.after(start),
        }
    }
}

/// The waits of a call.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the call to its connection, queueing included; 0 lasts 200 ms.
    pub connect: Millis,
    /// From the connection on; every byte either way starts it anew; 0 lasts 200 ms.
    pub idle: Millis,
    /// Life of the connection in the pool afterwards; 0 or less: the call
    /// neither takes a pooled connection nor leaves one.
    pub keepalive: Millis,
    /// From the call to the last byte; with the number that the text shows.
    pub deadline: Option<(Millis, Millis)>,
    /// Longest wait in the queue.
    pub pool: Option<Millis>,
}

/// A request, ready to send.
#[derive(Clone, Debug)]
pub struct CallSpec {
    /// Hand the response out piece by piece.
    pub streamed: bool,
    /// Leave the content coding alone.
    pub raw: bool,
    /// The embedder runs the connection.
    pub hosted: bool,
    /// It can do so where our TLS and the peer have nothing in common.
    pub hosted_tls: bool,
    /// The method, as far as it matters.
    pub method: Method,
    /// TLS to the target (or to a plain proxy).
    pub tls: Option<TlsMode>,
    /// Send the name in the handshake.
    pub sni: bool,
    /// How to get there.
    pub route: Route,
    /// What follows the head.
    pub upload: Upload,
    /// Part of the pool key: connections of different policies do not mix.
    pub policy: i64,
    /// Most body bytes on the wire.
    pub max_wire: Option<u64>,
    /// Most body bytes after decoding.
    pub max_decoded: Option<u64>,
    /// Most body bytes that are handed out; without it what is collected is
    /// held against [`Sink::room`](super::Sink::room).
    pub max_body: Option<u64>,
    /// The waits.
    pub timeouts: Timeouts,
    /// First read window of a streamed call, in bytes.
    pub window: usize,
    /// Part of the pool key: the host as the user wrote it.
    pub host: String,
    /// Name for the handshake and for the check.
    pub tls_name: String,
    /// Where to connect, in order.
    pub addresses: Vec<Address>,
    /// Request head with its empty line.
    pub head: Bytes,
    /// Body of [`Upload::Whole`].
    pub body: Bytes,
}

impl Default for Timeouts {
    /// A minute for each wait, two for a kept connection, no deadline.
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
    /// A GET in the clear over a pooled connection; addresses and head are missing.
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
