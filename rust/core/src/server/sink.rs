//! The embedder's side: how requests, events and notices leave the core.

use super::exchange::Work;
use super::limits::Timeout;
use crate::error::Violation;

/// The embedder's side: what the loop calls. None of these may run user code or block.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Work of one turn of a loop ([`Mode::Push`](super::Mode::Push)), or close events after the queue was shut.
    fn on_work(&self, work: Vec<Work>);
    /// This many items are queued, and the threads that take them are stuck or too slow
    /// ([`Mode::Pull`](super::Mode::Pull) only).
    fn on_starved(&self, waiting: usize);
    /// All bytes of this exchange are written, or else lost: a refused send may be tried again.
    fn on_drained(&self, name: i64, written: bool);
    /// A reader of this exchange's body that got [`Read::Later`](super::Read::Later) may continue.
    fn on_body(&self, name: i64);
    /// The channel of this name is closed, for the reason of [`Event::Closed`](super::Event::Closed), while a thread
    /// runs callbacks for events that it has taken. The close event follows them; this upcall is for callbacks that run
    /// until they are told.
    fn on_closing(&self, name: i64, code: i32, reason: &str);
    /// This exchange's handler has timed out ([`Timeout::Handler`]), with
    /// [`Config::interrupt`](super::Config::interrupt).
    fn on_overdue(&self, _name: i64) {}
    /// Something to be logged or counted.
    fn on_notice(&self, notice: Notice);
}

/// Something to be logged or counted.
#[derive(Debug)]
pub enum Notice {
    /// A request broke a rule, and got the matching error response.
    Violation(Violation),
    /// A WebSocket peer broke a rule.
    Frame {
        /// The close code that it gets.
        code: u16,
        /// What is wrong, for the log.
        message: String,
    },
    /// A time limit has ended a request or connection.
    Timeout(Timeout),
    /// The queue was full: a request got a 503.
    RequestRefused,
    /// The queue was full: a channel was closed.
    EventsRefused,
    /// A warning for the log.
    Warning(String),
    /// Accepting fails; it is retried. At most one notice a second.
    Accept(String),
    /// A file being sent could not be read to its end, so its connection was reset.
    File(String),
    /// A lot of memory was freed, which the allocator may not have returned to the system.
    Freed,
    /// A TLS handshake failed, for this reason.
    Handshake(String),
    /// A bug or a failing loop.
    LoopError(String),
}
