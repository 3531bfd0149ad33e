//! State shared by all connections and loops of one server: settings, queue, open connections, deferred upcalls.

use std::cell::Cell;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use tokio::runtime::Handle;

use super::access::AccessLog;
use super::admission::Admission;
use super::broadcast::Broadcasts;
use super::budget::Budget;
use super::clock::Clock;
use super::config::Config;
use super::connection::Conn;
use super::counters::Counters;
use super::exchange::{Exchange, Work};
use super::freed::{self, Freed};
use super::half_closed::{HalfClosed, Oldest};
use super::registry::Registry;
use super::sink::{Notice, Sink};
use super::step;
use super::tally::Tally;
use super::throttle::Throttle;
use super::tls::ServerTls;
use super::types::Refusal;
use super::work::{Mode, Pushed, Settings, Team, Teams};
use crate::error::Violation;
use crate::h1::{date, response};

/// What came up where it cannot be done, for the most part an upcall under a connection's lock. The attendant does it.
#[derive(Debug)]
pub(super) enum Deferred {
    Notice(Notice),
    /// All bytes are written, or else lost.
    Drained(i64, bool),
    /// A reader of this exchange's body may continue.
    Body(i64),
    /// A channel is closed, with its close event queued behind running callbacks.
    Closing(i64, i32, String),
    /// A channel's messages were refused.
    Overload(Exchange),
    /// A close event that the queue refused.
    Orphan(Work),
    /// This exchange's handler has timed out.
    Overdue(i64),
    /// One half-closed connection too many.
    GiveUp(Oldest<Conn>),
    /// A lot of memory was freed.
    Freed,
}

/// Notices that wait for the loop, at most, if peers can cause any number of them. More would not be logged either:
/// Java keeps as many log calls.
const MOST_NOTICES: usize = 10_000;

/// Upcalls that wait for the loop: for long, if a user's pool runs a handler on its thread.
#[derive(Debug, Default)]
struct Waiting {
    upcalls: VecDeque<Deferred>,
    /// Those of them that are limited.
    notices: usize,
    dropped: usize,
}

impl Waiting {
    fn push(&mut self, upcall: Deferred) {
        if upcall.is_limited() {
            if self.notices == MOST_NOTICES {
                self.dropped += 1;
                return;
            }
            self.notices += 1;
        }
        self.upcalls.push_back(upcall);
    }

    fn pop(&mut self) -> Option<Deferred> {
        if let Some(upcall) = self.upcalls.pop_front() {
            self.notices -= usize::from(upcall.is_limited());
            return Some(upcall);
        }
        let dropped = mem::take(&mut self.dropped);
        let warning = || format!("{dropped} messages about peers were dropped: a loop was held up");
        (dropped > 0).then(|| Deferred::Notice(Notice::Warning(warning())))
    }
}

impl Deferred {
    /// All but a server's own troubles, and what comes at most once for each exchange.
    fn is_limited(&self) -> bool {
        matches!(self, Self::Notice(notice) if !matches!(notice, Notice::LoopError(_)))
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) config: Config,
    /// The server's own header, as a line.
    server_line: Vec<u8>,
    pub(super) teams: Teams<Work>,
    pub(super) sink: Arc<dyn Sink>,
    pub(super) connections: Registry<Conn>,
    pub(super) admission: Admission,
    pub(super) clock: Clock,
    pub(super) counters: Counters,
    pub(super) accept_errors: Throttle,
    deferred: Mutex<Waiting>,
    pub(super) half_closed: Arc<HalfClosed<Conn>>,
    pub(super) freed: Freed,
    pub(super) accepted: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) tally: Tally,
    pub(super) stop: Progress,
    pub(super) tls: ServerTls,
    pub(super) access: Option<Arc<AccessLog>>,
    pub(super) budget: Budget,
    pub(super) broadcasts: Broadcasts,
}

/// How far a server has stopped.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) draining: AtomicBool,
    /// Loops that still accept, or take connections that the kernel has accepted.
    pub(super) accepting: AtomicUsize,
    /// The same, and loops that wait for handshakes that the kernel has begun.
    pub(super) listening: AtomicUsize,
    /// Responses completed meanwhile.
    pub(super) served: AtomicUsize,
}

/// One loop that accepts.
pub(super) struct Accepting {
    pub(super) shared: Arc<Shared>,
    /// The loop's number.
    pub(super) event_loop: usize,
    only_listens: bool,
}

impl Accepting {
    pub(super) fn new(shared: &Arc<Shared>, event_loop: usize) -> Self {
        shared.stop.listening.fetch_add(1, Ordering::SeqCst);
        shared.stop.accepting.fetch_add(1, Ordering::SeqCst);
        Self {
            shared: shared.clone(),
            event_loop,
            only_listens: false,
        }
    }

    /// All connections that the kernel had accepted are taken. Whether that is new.
    pub(super) fn only_listen(&mut self) -> bool {
        let is_new = !mem::replace(&mut self.only_listens, true);
        if is_new {
            self.shared.stop.accepting.fetch_sub(1, Ordering::SeqCst);
        }
        is_new
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.only_listen();
        self.shared.stop.listening.fetch_sub(1, Ordering::SeqCst);
    }
}

type DateLine = [u8; 37];

/// To be completed with a date from [`DATE_AT`] on.
const DATE_LINE: DateLine = *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n";
const DATE_AT: usize = 6;

thread_local! {
    /// The header line of the current second, and when that ends.
    static DATE: Cell<(Option<Instant>, DateLine)> = const { Cell::new((None, DATE_LINE)) };
}

impl Shared {
    pub(super) fn new(config: Config, sink: Arc<dyn Sink>) -> Self {
        let mut server_line = Vec::new();
        if let Some(server) = &config.server_header {
            response::header(&mut server_line, b"Server", server);
        }
        let settings = Settings {
            mode: config.mode,
            limit: config.queue,
            threads: config.threads,
            kept: config.kept,
            keep_alive: config.keep_alive,
        };
        Self {
            server_line,
            teams: Teams::new(config.loops, settings),
            admission: Admission::new(config.max_connections, config.max_per_ip),
            budget: Budget::new(config.max_buffered),
            access: config.access_log.then(Arc::default),
            config,
            sink,
            connections: Registry::new(),
            clock: Clock::default(),
            counters: Counters::default(),
            accept_errors: Throttle::default(),
            deferred: Mutex::default(),
            half_closed: HalfClosed::new(),
            freed: Freed::default(),
            accepted: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            tally: Tally::default(),
            stop: Progress::default(),
            tls: ServerTls::default(),
            broadcasts: Broadcasts::default(),
        }
    }

    /// Queues work; refuses it if the queue is full.
    pub(super) fn offer(&self, mut work: Work) {
        let team = self.team_of(&work);
        loop {
            work = match team.queue.push(work.since(), work) {
                Ok(pushed) => return self.pushed(team, pushed),
                Err(work) => work,
            };
            match work {
                Work::Request(request) => {
                    self.notice(Notice::RequestRefused);
                    let why = match team.queue.is_shut() {
                        true => Refusal::Stopping,
                        false => Refusal::Overload,
                    };
                    match request.exchange.refuse(why) {
                        Some(next) => work = Work::Request(next),
                        None => return,
                    }
                }
                // Deferred: its connection's lock may be held here.
                Work::Events(exchange) => return self.defer(Deferred::Overload(exchange)),
            }
        }
    }

    /// Queues a channel's close event. If the queue is full, its threads may be stuck, and the event must neither wait
    /// for them nor be lost: the embedder has other threads for it.
    pub(super) fn offer_closing(&self, work: Work) {
        let team = self.team_of(&work);
        match team.queue.push(work.since(), work) {
            Ok(pushed) => self.pushed(team, pushed),
            Err(work) => self.defer(Deferred::Orphan(work)),
        }
    }

    /// The team whose loop has the connection that this came on.
    fn team_of(&self, work: &Work) -> &Team<Work> {
        self.teams.of_loop(work.conn().event_loop)
    }

    fn pushed(&self, team: &Team<Work>, pushed: Pushed) {
        if self.config.mode == Mode::Push || pushed == Pushed::Starved {
            team.attention.notify_one();
        }
    }

    pub(super) fn notice(&self, notice: Notice) {
        self.defer(Deferred::Notice(notice));
    }

    pub(super) fn note_drained(&self, name: i64, written: bool) {
        self.defer(Deferred::Drained(name, written));
    }

    pub(super) fn defer(&self, upcall: Deferred) {
        self.deferred.lock().push(upcall);
        self.teams.of_loop(0).attention.notify_one();
    }

    pub(super) fn make_deferred_upcalls(self: &Arc<Self>) {
        loop {
            // One at a time: if its upcall panics, the others are still there.
            let Some(deferred) = self.deferred.lock().pop() else {
                return;
            };
            match deferred {
                Deferred::Notice(notice) => self.sink.on_notice(notice),
                Deferred::Drained(name, written) => self.sink.on_drained(name, written),
                Deferred::Overdue(name) => self.sink.on_overdue(name),
                Deferred::Body(name) => self.sink.on_body(name),
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

    pub(super) fn register(&self, conn: &Arc<Conn>) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let (slot, first) = self.connections.add(conn.event_loop, Arc::downgrade(conn));
        conn.lock().slot = slot;
        if first {
            self.clock.start();
        }
    }

    pub(super) fn forget(&self, conn: &Arc<Conn>) {
        let state = conn.lock();
        let (slot, source) = (state.slot, state.counted_source(conn));
        drop(state);
        self.connections.remove(slot);
        self.admission.leave();
        if let Some(source) = source {
            self.admission.leave_from(source);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<Conn>> {
        self.connections.all()
    }

    fn date() -> [u8; 29] {
        let mut date = [0; 29];
        let end = DATE_AT + date.len();
        date.copy_from_slice(&Self::date_line()[DATE_AT..end]);
        date
    }

    fn date_line() -> DateLine {
        let now = step::now();
        DATE.with(|date| {
            let (ends, mut line) = date.get();
            if ends.is_some_and(|ends| now < ends) {
                return line;
            }
            let today = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            let left = Duration::from_nanos(1_000_000_000 - u64::from(today.subsec_nanos()));
            let text = date::imf_fixdate(today.as_secs());
            line[DATE_AT..DATE_AT + text.len()].copy_from_slice(&text);
            date.set((Some(Instant::now() + left), line));
            line
        })
    }

    /// Appends the header fields that the server adds itself.
    pub(super) fn own_fields(&self, out: &mut Vec<u8>, server: bool, date: bool) {
        if server {
            out.extend_from_slice(&self.server_line);
        }
        if date {
            out.extend_from_slice(&Self::date_line());
        }
    }

    pub(super) fn interim(&self, out: &mut Vec<u8>) {
        response::continue_response(out, self.config.server_header.as_deref(), &Self::date());
    }

    pub(super) fn error(&self, out: &mut Vec<u8>, violation: Violation, head_request: bool) {
        let server = self.config.server_header.as_deref();
        response::error_response(out, violation, head_request, server, &Self::date());
    }

    /// A whole response without content, the last of its connection.
    pub(super) fn last_response(&self, out: &mut Vec<u8>, status: u16) {
        let server = self.config.server_header.as_deref();
        response::last_response(out, status, 0, server, &Self::date());
    }

    /// Whether the server is stopping: each connection ends with its current response.
    pub(super) fn is_draining(&self) -> bool {
        self.stop.draining.load(Ordering::Relaxed)
    }

    /// This many bytes of memory have been freed, or soon will be. Any lock may be held.
    pub(super) fn note_freed(&self, bytes: usize) {
        if self.freed.note(bytes) {
            self.defer(Deferred::Freed);
        }
    }

    /// Tells the embedder after a delay. Called on a loop, or after the last one has ended.
    fn notice_freed(self: &Arc<Self>) {
        let shared = self.clone();
        let tell = move || {
            shared.freed.noticed();
            shared.sink.on_notice(Notice::Freed);
        };
        match Handle::try_current() {
            Ok(handle) => drop(handle.spawn(async move {
                tokio::time::sleep(freed::DELAY).await;
                tell();
            })),
            Err(_) => tell(),
        }
    }
}
