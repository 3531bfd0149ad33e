//! The server: sockets in, [`Work`] out, answers back.
//!
//! A [`Server`] is bound once and served by one or more loops, each a
//! tokio current-thread runtime on a thread that the embedder lends
//! ([`Server::run`]). Requests leave through its [`WorkQueue`]; whoever took one
//! answers through its [`Exchange`], from any thread.
//!
//! Not here: parsing (`h1`), frames (`ws`), what a request means.

mod answer;
mod channel;
mod connection;
mod encoded;
mod exchange;
mod freed;
mod half_close;
mod inbound;
mod lead;
mod listener;
mod output;
pub mod queue;
pub mod request;
mod socket;
mod stop;
mod websocket;

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::error::Violation;
use crate::h1::proxy::ProxyMode;
use crate::h1::{Limits, date, response};
use connection::Conn;
use half_close::{HalfClosed, Oldest};
use lead::Leads;
use listener::Listener;
use queue::{Mode, Pushed, Work, WorkQueue};

pub use exchange::{
    Answered, CLOSE, CORK, Encoded, Event, Exchange, GIVEN_CONNECTION, GIVEN_DATE, GIVEN_SERVER,
    INLINE, INSIST, Interest, Pings, Reply, Sent,
};
pub use half_close::{HALF_CLOSE_TIME, max_half_closed};
pub use output::{Kept, Payload, Source};

/// Everything a server is told at its start.
#[derive(Debug, Clone)]
pub struct Config {
    /// What a request may be at most.
    pub limits: Limits,
    /// PROXY protocol on new connections.
    pub proxy: ProxyMode,
    /// Value of the `Server` field; `None` leaves it out.
    pub server_header: Option<Vec<u8>>,
    /// Bytes of one reassembled WebSocket message.
    pub max_message: u64,
    /// Messages of one channel that wait for user code before its socket is no longer read.
    pub max_pending_messages: usize,
    /// Connections that the kernel completes before we accept them.
    pub backlog: i32,
    /// Bytes of the kernel's receive buffer per connection; 0 for its default.
    pub receive_buffer: usize,
    /// Whether other sockets may listen on the same port (SO_REUSEPORT).
    pub reuse_port: bool,
    /// How work reaches user code.
    pub mode: Mode,
    /// Requests and messages that may wait for a thread.
    pub queue: usize,
    /// Threads that pull work, at most: what they are free for does not count as waiting.
    pub threads: usize,
    /// How long a peer that has ended its side keeps its connection while a response is due and nothing is
    /// sent, see [`HALF_CLOSE_TIME`].
    pub half_close_time: Duration,
    /// How many connections are kept for such peers, see [`max_half_closed`]; the oldest are closed first.
    pub max_half_closed: usize,
    /// Whether user code hears of such a peer at once: [`Event::HalfClosed`].
    pub tell_half_close: bool,
    /// How long a peer may take next to nothing of its last answer, of a file, or of what a sender waits for
    /// room for, see [`UNREAD_TIME`].
    pub unread_time: Duration,
    /// How many bytes the kernel holds that were written to a socket and that its peer has not taken; 0 where
    /// that cannot be told.
    pub unsent: fn(BorrowedFd<'_>) -> u64,
    /// So many of them stay whatever happens.
    pub kept: usize,
    /// The others leave [`Server::take`] when nothing has come for them for so long.
    pub keep_alive: Duration,
}

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

/// The embedder's side: what the loop calls. None of these may run user code or block.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// What came up in one turn of a loop ([`Mode::Push`]), or closings after the queue was shut.
    fn on_work(&self, work: Vec<Work>);
    /// So many items wait and every thread that takes them is stuck or too slow ([`Mode::Pull`] only).
    fn on_starved(&self, waiting: usize);
    /// All bytes of the exchange of this name are written: what was refused may be tried again.
    fn on_drained(&self, name: i64);
    /// The channel of this name is closed, for the reason of [`Event::Closed`], while a thread runs callbacks
    /// for events that it has taken. That event follows them: this is for callbacks that go on until they
    /// hear of it.
    fn on_closing(&self, name: i64, code: i32, reason: &str);
    /// Something to be logged or counted.
    fn on_notice(&self, notice: Notice);
}

/// Something to be logged or counted.
#[derive(Debug)]
pub enum Notice {
    /// A request broke a rule and was answered.
    Violation(Violation),
    /// A WebSocket peer broke a rule.
    Frame { code: u16, message: String },
    /// The queue was full: a request was answered 503.
    RequestRefused,
    /// The queue was full: a channel was closed.
    EventsRefused,
    /// Accepting failed; it is tried again.
    Accept(String),
    /// A file that was being sent could not be read to its end: its connection was cut.
    File(String),
    /// Much memory was freed, which the allocator may keep from the system.
    Freed,
    /// A bug or a failing loop.
    LoopError(String),
}

/// An upcall that came up under a connection's lock; the loop makes it.
#[derive(Debug)]
enum Deferred {
    Notice(Notice),
    Drained(i64),
    /// A channel's closing waits behind its callbacks.
    Closing(i64, i32, String),
    /// A channel's messages were refused.
    Overload(Exchange),
    /// A closing that came after the queue was shut.
    Orphan(Work),
    /// One half-closed connection too many.
    GiveUp(Oldest),
    /// Much memory was freed.
    Freed,
}

#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    queue: WorkQueue,
    leads: Leads,
    sink: Arc<dyn Sink>,
    connections: Mutex<HashMap<usize, Weak<Conn>>>,
    deferred: Mutex<VecDeque<Deferred>>,
    half_closed: HalfClosed,
    freed: freed::Freed,
    /// Work was pushed, or upcalls are due.
    attention: Notify,
    accepted: AtomicU64,
    stop: stop::Progress,
}

/// A bound server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: Mutex<Option<Listener>>,
    port: Option<u16>,
    stage: watch::Sender<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Accepting,
    Draining,
    Closed,
}

thread_local! {
    /// The second that was last asked for, and its text.
    static DATE: Cell<(u64, [u8; 29])> = const { Cell::new((0, [0; 29])) };
}

/// How long a peer may take less than 1 KiB of a response, of a file, or of what a sender waits for room for,
/// unless the embedder says otherwise.
pub const UNREAD_TIME: Duration = Duration::from_secs(60);

/// How often the queue is looked at while no thread is free.
const STARVATION_TICK: Duration = Duration::from_millis(1);
/// Work that has waited so long calls for help even while threads make progress.
const MAX_WAIT: Duration = Duration::from_millis(10);

impl Server {
    /// Binds and listens. Nothing is accepted until a loop runs.
    pub fn bind(address: &Address, config: Config, sink: Arc<dyn Sink>) -> io::Result<Self> {
        // Starts the clock that requests tell their arrival by.
        request::clock();
        let listener = Listener::bind(address, &config)?;
        let port = listener.port();
        let shared = Shared {
            queue: WorkQueue::new(&config),
            leads: Leads::default(),
            config,
            sink,
            connections: Mutex::default(),
            deferred: Mutex::default(),
            half_closed: HalfClosed::default(),
            freed: freed::Freed::default(),
            attention: Notify::new(),
            accepted: AtomicU64::new(0),
            stop: stop::Progress::default(),
        };
        let (stage, _) = watch::channel(Stage::Accepting);
        Ok(Self {
            shared: Arc::new(shared),
            listener: Mutex::new(Some(listener)),
            port,
            stage,
        })
    }

    /// The bound port, `None` for a Unix domain socket.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Where requests and events wait for threads.
    pub fn queue(&self) -> &WorkQueue {
        &self.shared.queue
    }

    /// The next piece of work, waiting for it: this thread may run a loop meanwhile. `None` once the queue
    /// is shut and empty, or when this thread has waited for long and more are there than are kept.
    pub fn take(&self) -> Option<Work> {
        self.shared.queue.take(&self.shared.leads)
    }

    /// Runs one loop on this thread until [`Self::close`], or watches as threads in [`Self::take`] run it.
    /// `first` also looks after the queue.
    pub fn run(&self, first: bool) -> io::Result<()> {
        let listener = match &*self.listener.lock() {
            Some(listener) => listener.try_clone()?,
            None => return Ok(()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut stage = self.stage.subscribe();
        if first {
            runtime.spawn(keep_attending(self.shared.clone()));
        }
        let accepting = stop::Accepting::new(&self.shared);
        runtime.spawn(listener::accept(accepting, listener, stage.clone()));
        self.shared
            .leads
            .own(runtime, &self.shared.queue, &mut stage);
        // Nothing is added any more, and closings must be heard of though nobody attends to them now.
        self.spill();
        self.shared.make_deferred_upcalls();
        Ok(())
    }

    /// Hands everything that waits to [`Sink::on_work`], for want of threads that take it.
    pub fn spill(&self) {
        let work = self.shared.queue.drain();
        if !work.is_empty() {
            self.shared.sink.on_work(work);
        }
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let later = *stage < to;
            *stage = to.max(*stage);
            later
        });
        self.shared.leads.alert();
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.lock().len()
    }

    /// Connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// How long [`attend`] rests after a panic.
const PANIC_REST: Duration = Duration::from_millis(10);

/// Keeps [`attend`] going: a panic in an upcall must not end all further ones.
async fn keep_attending(shared: Arc<Shared>) {
    while tokio::spawn(attend(shared.clone()))
        .await
        .is_err_and(|e| e.is_panic())
    {
        shared.notice(Notice::LoopError("an upcall panicked".into()));
        tokio::time::sleep(PANIC_REST).await;
    }
}

/// Looks after the queue and makes the upcalls that came up under a lock.
async fn attend(shared: Arc<Shared>) {
    let mut taken = None;
    loop {
        shared.make_deferred_upcalls();
        match shared.queue.mode() {
            Mode::Push => {
                let work = shared.queue.drain();
                if !work.is_empty() {
                    shared.sink.on_work(work);
                }
                shared.attention.notified().await;
            }
            Mode::Pull => {
                let Some(pressure) = shared.queue.pressure() else {
                    taken = None;
                    shared.attention.notified().await;
                    continue;
                };
                let stuck = taken == Some(pressure.taken) && pressure.oldest >= STARVATION_TICK;
                if stuck || pressure.oldest >= MAX_WAIT {
                    shared.sink.on_starved(pressure.waiting);
                }
                taken = Some(pressure.taken);
                let tick = tokio::time::sleep(STARVATION_TICK);
                tokio::select! {
                    () = tick => {}
                    () = shared.attention.notified() => tokio::time::sleep(STARVATION_TICK).await,
                }
            }
        }
    }
}

impl Shared {
    /// Hands work over; what nobody can take is refused.
    fn offer(&self, mut work: Work) {
        loop {
            work = match self.queue.push(work) {
                Ok(pushed) => return self.pushed(pushed),
                Err(work) => work,
            };
            match work {
                Work::Request(request) => {
                    self.notice(Notice::RequestRefused);
                    match request.exchange.refuse() {
                        Some(next) => work = Work::Request(next),
                        None => return,
                    }
                }
                // Its connection's lock may be held here.
                Work::Events(exchange) => return self.defer(Deferred::Overload(exchange)),
            }
        }
    }

    /// Hands a channel's closing over, which is never refused.
    fn offer_closing(&self, work: Work) {
        match self.queue.push_unbounded(work) {
            Ok(pushed) => self.pushed(pushed),
            Err(work) => self.defer(Deferred::Orphan(work)),
        }
    }

    fn pushed(&self, pushed: Pushed) {
        if self.queue.mode() == Mode::Push || pushed == Pushed::Starved {
            self.attention.notify_one();
        }
    }

    fn notice(&self, notice: Notice) {
        self.defer(Deferred::Notice(notice));
    }

    fn note_drained(&self, name: i64) {
        self.defer(Deferred::Drained(name));
    }

    fn defer(&self, upcall: Deferred) {
        self.deferred.lock().push_back(upcall);
        self.attention.notify_one();
    }

    fn make_deferred_upcalls(self: &Arc<Self>) {
        loop {
            // One at a time: if its upcall panics, the others are still there.
            let Some(deferred) = self.deferred.lock().pop_front() else {
                return;
            };
            match deferred {
                Deferred::Notice(notice) => self.sink.on_notice(notice),
                Deferred::Drained(name) => self.sink.on_drained(name),
                Deferred::Closing(name, code, reason) => {
                    self.sink.on_closing(name, code, &reason);
                }
                Deferred::Overload(exchange) => {
                    exchange.overload();
                    self.sink.on_notice(Notice::EventsRefused);
                }
                Deferred::Orphan(work) => self.sink.on_work(vec![work]),
                Deferred::GiveUp(oldest) => oldest.give_up(),
                Deferred::Freed => self.notice_freed(),
            }
        }
    }

    fn register(&self, conn: &Arc<Conn>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.connections
            .lock()
            .insert(Arc::as_ptr(conn).addr(), Arc::downgrade(conn));
    }

    fn forget(&self, conn: &Arc<Conn>) {
        self.connections.lock().remove(&Arc::as_ptr(conn).addr());
    }

    fn all(&self) -> Vec<Arc<Conn>> {
        self.connections
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }

    fn date(&self) -> [u8; 29] {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        DATE.with(|date| {
            let mut cached = date.get();
            if cached.0 != now {
                cached = (now, date::imf_fixdate(now));
                date.set(cached);
            }
            cached.1
        })
    }

    /// Appends the fields that the server adds by itself.
    fn own_fields(&self, out: &mut Vec<u8>, server: bool, date: bool) {
        if let Some(server) = self.config.server_header.as_ref().filter(|_| server) {
            response::header(out, b"Server", server);
        }
        if date {
            response::header(out, b"Date", &self.date());
        }
    }

    fn interim(&self, out: &mut Vec<u8>) {
        response::continue_response(out, self.config.server_header.as_deref(), &self.date());
    }

    fn error(&self, out: &mut Vec<u8>, violation: Violation, head_request: bool) {
        let server = self.config.server_header.as_deref();
        response::error_response(out, violation, head_request, server, &self.date());
    }
}
