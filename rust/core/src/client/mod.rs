//! HTTP/1.1 client: pool, connect, proxies, calls.
//!
//! One loop thread runs everything, inside [`Client::run`]. Any thread may call [`Client`]. A call is a message to the
//! loop, unless an idle connection can serve it: then the caller's thread writes the request, and the loop finds the
//! call when the response wakes it. The only way out is [`Sink`], called on the loop thread: every call that
//! [`Client::call`] accepted ends with exactly one of `on_response`, `on_end` and `on_failure`.
//!
//! Not here: DNS, redirects, cookies, the meaning of a body.

mod call;
mod ceiling;
mod connect;
mod control;
mod decode;
mod decompress;
mod engine;
mod error;
mod exchange;
mod headers;
mod intake;
mod key;
mod lines;
mod outgoing;
mod permit;
mod pool;
mod proxy;
mod seat;
mod shared;
mod sink;
mod spec;
mod stats;
mod timer;
mod untold;

pub use ceiling::Ceilings;
pub use decode::{Decoder, Event, State, Version};
pub use decompress::{Coding, Inflater, Step, decode_whole};
pub use error::{CallError, ErrorKind};
pub use headers::Headers;
pub use sink::{CallId, Head, Sink};
pub use spec::{Address, CallSpec, ClientConfig, Method, Millis, Route, Timeouts, Upload};
pub use stats::Stats;

use crate::net::hosted::TransportId;
use crate::net::tls::TlsContext;
pub use bytes::Bytes;
use engine::{Command, Engine};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// A client, shared by all threads; one of them runs it.
pub struct Client {
    commands: UnboundedSender<Command>,
    inbox: Mutex<Option<UnboundedReceiver<Command>>>,
    /// The engine, while its loop runs. Callers keep it locked while they use it, and a loop that ends waits for them:
    /// its calls, connections and sink end on its own thread.
    engine: RwLock<Option<Arc<Engine>>>,
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
            engine: RwLock::default(),
            stats: Arc::default(),
            config,
        }
    }

    /// Runs the loop. Returns after [`Client::stop`], once every call has ended and every connection is closed. A
    /// second run returns immediately.
    pub fn run(&self, sink: Arc<dyn Sink>) -> std::io::Result<()> {
        let Some(inbox) = self.inbox.lock().take() else {
            return Ok(());
        };
        let engine = Engine::new(sink, self.stats.clone(), self.config.clone());
        engine::run(engine, inbox, &self.engine)
    }

    /// Ends the loop; calls in progress fail with [`ErrorKind::Stopped`].
    pub fn stop(&self) {
        if let Some(engine) = &*self.engine.read() {
            engine.hold_back();
        }
        self.send(Command::Stop);
    }

    /// Starts a call; `false` when the client is stopped.
    pub fn call(&self, call: CallId, spec: Box<CallSpec>) -> bool {
        let since = Instant::now();
        match &*self.engine.read() {
            Some(engine) => match engine.serve(engine.accept(call, spec, since)) {
                Ok(()) => true,
                Err(call) => self.send(Command::Serve(call)),
            },
            None => self.send(Command::Call(call, spec, since)),
        }
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

    /// Sets the TLS context for new connections.
    pub fn set_tls(&self, context: TlsContext) {
        self.send(Command::Tls(Arc::new(context)));
    }

    /// See [`crate::net::hosted::HostedTransports::ready`].
    pub fn transport_ready(&self, transport: TransportId) {
        self.send(Command::Ready(transport));
    }

    /// See [`crate::net::hosted::HostedTransports::failed`].
    pub fn transport_failed(&self, transport: TransportId) {
        self.send(Command::Failed(transport));
    }

    /// See [`crate::net::hosted::HostedTransports::received`]; `false` when the
    /// client is stopped.
    pub fn transport_received(&self, transport: TransportId, data: Bytes) -> bool {
        self.send(Command::Received(transport, data))
    }

    /// See [`crate::net::hosted::HostedTransports::eof`].
    pub fn transport_eof(&self, transport: TransportId) {
        self.send(Command::Eof(transport));
    }

    /// See [`crate::net::hosted::HostedTransports::written`].
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
