//! The embedder's side: how requests, events and notices leave the core.

use super::exchange::Work;
use crate::error::Violation;

/// The embedder's side: what the loop calls. None of these may run user code or block.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// What came up in one turn of a loop ([`Mode::Push`](super::Mode::Push)), or closings after the queue was shut.
    fn on_work(&self, work: Vec<Work>);
    /// This many items wait, and the threads that take them are stuck or too slow ([`Mode::Pull`](super::Mode::Pull)
    /// only).
    fn on_starved(&self, waiting: usize);
    /// All bytes of the exchange of this name are written: what was refused may be tried again.
    fn on_drained(&self, name: i64);
    /// The channel of this name is closed, for the reason of [`Event::Closed`](super::Event::Closed), while a thread runs callbacks
    /// for events that it has taken. That event follows them: this is for callbacks that go on until they
    /// hear of it.
    fn on_closing(&self, name: i64, code: i32, reason: &str);
    /// Something to be logged or counted.
    fn on_notice(&self, notice: Notice);
}

/// Something to be logged or counted.
#[derive(Debug)]
pub enum Notice {
    /// A request broke a rule and got the response for that.
    Violation(Violation),
    /// A WebSocket peer broke a rule.
    Frame {
        /// The close code that it gets.
        code: u16,
        /// What is wrong, for the log.
        message: String,
    },
    /// The queue was full: a request got a 503.
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
