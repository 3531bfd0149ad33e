//! HTTP/1.1 client: pool, connect, proxies, calls.
//!
//! One loop thread runs everything: it calls [`Client::run`] and stays. Any
//! thread calls down through [`Client`]; each of those is one message to the
//! loop. The only way out is [`Sink`], called on the loop thread: every call
//! that [`Client::call`] accepted ends with exactly one of `on_response`,
//! `on_end` and `on_failure`.
//!
//! Not here: DNS, redirects, cookies, what a body means.

mod call;
mod connect;
mod decode;
mod decompress;
mod engine;
mod error;
mod exchange;
mod headers;
mod outgoing;
mod pool;
mod proxy;
mod timer;

pub use call::{Address, CallSpec, Method, Millis, Route, Timeouts, Upload};
pub use decode::{Decoder, Event, State, Version};
pub use decompress::{Coding, Inflater, Step, decode_whole};
pub use error::{CallError, ErrorKind};
pub use headers::Headers;

use crate::net::foreign::{TransportHost, TransportId};
use crate::net::tls::TlsContext;
pub use bytes::Bytes;
use call::PoolKey;
use engine::Engine;
use parking_lot::Mutex;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// Name of a call, chosen by the embedder, unique in the process.
pub type CallId = u64;

/// Head of a response as it is handed out.
pub struct Head<'a> {
    /// 101, 200-999
    pub status: u16,
    /// Version that the peer spoke.
    pub version: Version,
    /// Lower-case names, in order of arrival.
    pub headers: &'a Headers,
    /// Trailers are among the headers.
    pub trailers: bool,
    /// The content coding is undone.
    pub decoded: bool,
    /// An earlier call used the same connection.
    pub reused: bool,
    /// The connection is rustls'.
    pub tls: bool,
    /// The connection is the embedder's.
    pub hosted: bool,
}

/// The loop's way out; called on the loop thread, must not block.
///
/// What hands bytes over may refuse them (no memory): that fails the call.
pub trait Sink: TransportHost {
    /// A buffered call is complete.
    #[must_use]
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool;
    /// A streamed call's head; again before `on_end` when trailers came.
    #[must_use]
    fn on_head(&self, call: CallId, head: &Head<'_>) -> bool;
    /// A piece of a streamed body. Once it may be empty: a gzip header was
    /// read and no data yet.
    #[must_use]
    fn on_body(&self, call: CallId, data: &[u8]) -> bool;
    /// A streamed call is complete.
    fn on_end(&self, call: CallId);
    /// The call failed; `transport` carried it, if one did, and is closed.
    fn on_failure(&self, call: CallId, error: &CallError, transport: Option<TransportId>);
    /// A streamed upload may send `n` more bytes. The first credit says that
    /// the connection stands.
    fn on_send_credit(&self, call: CallId, n: usize);
}

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

/// Counters of a client; all may be read from any thread.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections, from the connect on.
    pub open: AtomicU64,
    /// Those that wait in the pool.
    pub idle: AtomicU64,
    /// Accepted calls without their end.
    pub active: AtomicU64,
    /// Those of them that wait for a connection.
    pub queued: AtomicU64,
    /// Connections ever opened.
    pub opened: AtomicU64,
    /// Calls ever accepted.
    pub calls: AtomicU64,
    /// Calls on a connection that another call used before.
    pub reused: AtomicU64,
    /// Repeats because a pooled connection was stale.
    pub retries: AtomicU64,
    /// Connections that rustls secured.
    pub tls: AtomicU64,
    /// Connections that the embedder ran.
    pub hosted: AtomicU64,
    /// Response bytes held in buffers.
    pub buffered: AtomicU64,
    /// Connects under way.
    pub connecting: AtomicU64,
}

impl Stats {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64, n: u64) {
        counter.fetch_sub(n, Ordering::Relaxed);
    }
}

enum Command {
    Call(CallId, Box<CallSpec>, Instant),
    Credit(CallId, usize),
    Cancel(CallId),
    Send(CallId, Bytes, bool),
    SendFailed(CallId),
    Tls(Arc<TlsContext>),
    Ready(TransportId),
    Failed(TransportId),
    Received(TransportId, Bytes),
    Eof(TransportId),
    Written(TransportId, usize),
    Stop,
}

/// A client. Shared by all threads; one of them runs it.
pub struct Client {
    commands: UnboundedSender<Command>,
    inbox: Mutex<Option<UnboundedReceiver<Command>>>,
    stats: Arc<Stats>,
    config: ClientConfig,
}

impl Client {
    /// A client that does nothing until it is [run](Client::run).
    pub fn new(config: ClientConfig) -> Self {
        let (commands, inbox) = unbounded_channel();
        Self {
            commands,
            inbox: Mutex::new(Some(inbox)),
            stats: Arc::default(),
            config,
        }
    }

    /// The loop; returns after [`Client::stop`] when every call ended and
    /// every connection is closed. A second run returns at once.
    pub fn run(&self, sink: Rc<dyn Sink>) -> std::io::Result<()> {
        let Some(inbox) = self.inbox.lock().take() else {
            return Ok(());
        };
        let engine = Engine::new(sink, self.stats.clone(), self.config.clone());
        engine::run(engine, inbox)
    }

    /// Ends the loop; calls under way fail with [`ErrorKind::Stopped`].
    pub fn stop(&self) {
        self.send(Command::Stop);
    }

    /// Starts a call; `false` when the client is stopped.
    pub fn call(&self, call: CallId, spec: Box<CallSpec>) -> bool {
        self.send(Command::Call(call, spec, Instant::now()))
    }

    /// Gives `n` bytes of window back to a streamed call.
    pub fn credit(&self, call: CallId, n: usize) {
        self.send(Command::Credit(call, n));
    }

    /// Ends a call with [`ErrorKind::Cancelled`] and drops its connection.
    pub fn cancel(&self, call: CallId) {
        self.send(Command::Cancel(call));
    }

    /// One piece of a streamed upload; `false` when the client is stopped.
    pub fn send_body(&self, call: CallId, data: Bytes, last: bool) -> bool {
        self.send(Command::Send(call, data, last))
    }

    /// The source of a streamed upload failed.
    pub fn send_failed(&self, call: CallId) {
        self.send(Command::SendFailed(call));
    }

    /// What TLS connections are made with from now on.
    pub fn set_tls(&self, context: TlsContext) {
        self.send(Command::Tls(Arc::new(context)));
    }

    /// See [`crate::net::foreign::Foreigners::ready`].
    pub fn transport_ready(&self, transport: TransportId) {
        self.send(Command::Ready(transport));
    }

    /// See [`crate::net::foreign::Foreigners::failed`].
    pub fn transport_failed(&self, transport: TransportId) {
        self.send(Command::Failed(transport));
    }

    /// See [`crate::net::foreign::Foreigners::received`]; `false` when the
    /// client is stopped.
    pub fn transport_received(&self, transport: TransportId, data: Bytes) -> bool {
        self.send(Command::Received(transport, data))
    }

    /// See [`crate::net::foreign::Foreigners::eof`].
    pub fn transport_eof(&self, transport: TransportId) {
        self.send(Command::Eof(transport));
    }

    /// See [`crate::net::foreign::Foreigners::written`].
    pub fn transport_written(&self, transport: TransportId, n: usize) {
        self.send(Command::Written(transport, n));
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    fn send(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }
}
