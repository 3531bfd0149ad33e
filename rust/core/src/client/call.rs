//! One request in flight: what was asked for, and its strings to the outside.

use super::engine::Engine;
use super::error::CallError;
use super::{CallId, Stats};
use crate::net::foreign::TransportId;
use crate::net::tls::TlsMode;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

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

/// A user's number of milliseconds: kept as given, since error texts show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Millis(pub i32);

impl Millis {
    pub(super) fn after(self, start: Instant) -> Instant {
        let millis = u64::try_from(self.0).unwrap_or(0);
        start + Duration::from_millis(millis)
    }
}

/// The waits of a call.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// From the call to its connection, queueing included.
    pub connect: Millis,
    /// From the connection on; every byte either way starts it anew.
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

/// What the limit per host counts: the host as written, where it is and the
/// way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    address: Option<Address>,
    name: String,
    route: Route,
}

/// What makes two connections the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub host: HostKey,
    tls: Option<TlsMode>,
    tls_name: String,
    sni: bool,
    policy: i64,
    hosted: bool,
}

impl PoolKey {
    pub(super) fn of(spec: &CallSpec) -> Self {
        let tls_name = match spec.tls {
            Some(_) => spec.tls_name.clone(),
            None => String::new(),
        };
        Self {
            host: HostKey {
                address: spec.addresses.first().cloned(),
                name: spec.host.clone(),
                route: spec.route.clone(),
            },
            tls: spec.tls,
            tls_name,
            sni: spec.sni,
            policy: spec.policy,
            hosted: spec.hosted,
        }
    }
}

/// The strings by which the outside pulls at a call under way.
#[derive(Default)]
pub(super) struct Control {
    pub cancelled: Cell<bool>,
    pub source_failed: Cell<bool>,
    /// Bytes that may still be handed out; below 0 when a piece overshot.
    pub credit: Cell<i64>,
    pub upload: RefCell<VecDeque<(Bytes, bool)>>,
    waker: RefCell<Option<Waker>>,
}

impl Control {
    pub(super) fn wait(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match waker.as_mut() {
            Some(old) => old.clone_from(cx.waker()),
            None => *waker = Some(cx.waker().clone()),
        }
    }

    pub(super) fn wake(&self) {
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether the outside ended the call.
    pub(super) fn broken(&self) -> Result<(), CallError> {
        if self.cancelled.get() {
            return Err(CallError::cancelled());
        }
        if self.source_failed.get() {
            return Err(CallError::new(
                super::ErrorKind::SourceFailed,
                "source of the request body failed",
            ));
        }
        Ok(())
    }

    pub(super) fn poll_broken(&self, cx: &Context<'_>) -> Poll<CallError> {
        self.wait(cx);
        match self.broken() {
            Err(error) => Poll::Ready(error),
            Ok(()) => Poll::Pending,
        }
    }
}

/// One request in flight. It tells the sink its end once, at the latest when
/// it is dropped: a lost task must not leave somebody waiting.
pub(super) struct Call {
    pub id: CallId,
    pub spec: Box<CallSpec>,
    pub key: Rc<PoolKey>,
    pub control: Rc<Control>,
    /// Start of the connect clock: the submission, or the last stale retry.
    pub since: Instant,
    deadline: Option<Instant>,
    engine: Rc<Engine>,
    settled: bool,
}

impl Call {
    pub(super) fn new(engine: Rc<Engine>, id: CallId, spec: Box<CallSpec>, since: Instant) -> Self {
        let control = Rc::new(Control::default());
        control
            .credit
            .set(i64::try_from(spec.window).unwrap_or(i64::MAX));
        Stats::add(&engine.stats.calls, 1);
        Stats::add(&engine.stats.active, 1);
        engine.register(id, control.clone());
        Self {
            id,
            key: Rc::new(PoolKey::of(&spec)),
            control,
            since,
            deadline: spec.timeouts.deadline.map(|(rest, _)| rest.after(since)),
            spec,
            engine,
            settled: false,
        }
    }

    pub(super) fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    /// Whether it may use a pooled connection and leave its own behind.
    pub(super) fn takes_pooled(&self) -> bool {
        self.spec.timeouts.keepalive.0 > 0
    }

    pub(super) fn keepalive_until(&self) -> Instant {
        self.spec.timeouts.keepalive.after(Instant::now())
    }

    /// When the wait for a connection ends, and the error then.
    pub(super) fn queue_limit(&self) -> Limit {
        let connect = self.connect_limit(self.since);
        match self.spec.timeouts.pool {
            Some(pool) => connect.min(Limit::new(pool, self.since, "pool timeout")),
            None => connect,
        }
    }

    /// When a connect that belongs to a wait since `start` ends.
    pub(super) fn connect_limit(&self, start: Instant) -> Limit {
        let connect = self.spec.timeouts.connect;
        self.with_deadline(Limit::new(connect, start, "connect timeout"))
    }

    /// When silence since `last` ends the call; `None` while silence is not
    /// the peer's fault.
    pub(super) fn idle_limit(&self, last: Option<Instant>) -> Option<Limit> {
        let idle = last.map(|last| Limit::new(self.spec.timeouts.idle, last, "idle timeout"));
        match idle {
            Some(idle) => Some(self.with_deadline(idle)),
            None => self.deadline_limit(),
        }
    }

    fn with_deadline(&self, limit: Limit) -> Limit {
        match self.deadline_limit() {
            Some(deadline) => limit.min(deadline),
            None => limit,
        }
    }

    fn deadline_limit(&self) -> Option<Limit> {
        let (_, shown) = self.spec.timeouts.deadline?;
        Some(Limit {
            at: self.deadline?,
            what: "deadline",
            shown,
        })
    }

    /// Reports a failure; the connection must be closed by now.
    pub(super) fn fail(mut self, error: &CallError, transport: Option<TransportId>) {
        self.settle();
        self.engine.sink.on_failure(self.id, error, transport);
    }

    /// The sink is about to be told of the end; no upcall may follow it.
    pub(super) fn settle(&mut self) {
        if !self.settled {
            self.settled = true;
            Stats::sub(&self.engine.stats.active, 1);
            self.engine.unregister(self.id);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle();
        let error = match self.engine.stopping() {
            true => CallError::stopped(),
            false => CallError::internal("the task of this request was lost"),
        };
        self.engine.sink.on_failure(self.id, &error, None);
    }
}

/// A moment, and the timeout that it means.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub at: Instant,
    what: &'static str,
    shown: Millis,
}

impl Limit {
    fn new(millis: Millis, start: Instant, what: &'static str) -> Self {
        Self {
            at: millis.after(start),
            what,
            shown: millis,
        }
    }

    fn min(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    pub(super) fn error(&self) -> CallError {
        let text = format!("{}: {}ms", self.what, self.shown.0);
        CallError::new(super::ErrorKind::Timeout, text)
    }
}
