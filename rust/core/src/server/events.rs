//! Events queued for a channel's callbacks.
//!
//! They form a chain: at most one thread at a time works on it, in order, until there are none. `channel.rs` arranges
//! which thread that is.

use std::collections::VecDeque;

use super::types::Event;

/// Most events handed out together, so that a batch stays small.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// Bytes of one channel's queued messages at which reading stops.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

/// The events of one exchange.
#[derive(Debug, Default)]
pub(super) struct Events {
    queue: VecDeque<Event>,
    bytes: usize,
    /// A thread works on the chain, or work for one is queued.
    running: bool,
    /// A thread has taken events, and runs callbacks for them.
    taken: bool,
    /// It has been told of a close event behind these events.
    told: bool,
    /// User code keeps the exchange and wants to be told when the peer disconnects.
    pub(super) held: bool,
    limit: usize,
}

impl Events {
    /// Full at `limit` events.
    pub(super) fn new(limit: usize) -> Box<Self> {
        Box::new(Self {
            limit,
            ..Self::default()
        })
    }

    /// Whether user code is so far behind that the socket should not be read.
    pub(super) fn is_full(&self) -> bool {
        self.queue.len() >= self.limit || self.bytes >= MAX_EVENT_BYTES
    }

    /// What the queue takes: messages may be tiny, and many.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.queue.len() * size_of::<Event>()
    }

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.len();
        self.queue.push_back(event);
    }

    /// True if no thread works on the chain: the caller must queue work for one.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    /// The next events; the close event is returned alone.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let mut bytes = 0;
        let mut count = 0;
        for event in self.queue.iter().take(BATCH) {
            if count > 0 && matches!(event, Event::Closed(..)) {
                break;
            }
            bytes += event.len();
            count += 1;
            if bytes >= BATCH_BYTES {
                break;
            }
        }
        self.bytes -= bytes;
        let mut batch: Vec<_> = self.queue.drain(..count).collect();
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        self.running = !batch.is_empty();
        self.taken = self.running;
        if let Some((code, reason)) = self.held_up_closing() {
            batch.insert(0, Event::Closing(code, reason));
        }
        batch
    }

    /// The close event queued behind taken events whose callbacks may be running; returned once.
    pub(super) fn held_up_closing(&mut self) -> Option<(i32, String)> {
        match self.queue.back() {
            Some(Event::Closed(code, reason)) if self.taken && !self.told => {
                self.told = true;
                Some((*code, reason.clone()))
            }
            _ => None,
        }
    }

    /// Drops events that have not been handed out, and ends the chain, because no thread took it. Returns the close
    /// event, which must not be lost.
    pub(super) fn drop_messages(&mut self) -> Option<Event> {
        let last = self.queue.pop_back();
        self.queue.clear();
        self.bytes = 0;
        self.running = false;
        self.taken = false;
        last.filter(|event| matches!(event, Event::Closed(..)))
    }
}

impl Event {
    /// Bytes in memory, apart from the event itself.
    fn len(&self) -> usize {
        match self {
            Self::Text(bytes) | Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => {
                bytes.len()
            }
            Self::HalfClosed => 0,
            Self::Closing(_, reason) | Self::Closed(_, reason) => reason.len(),
        }
    }
}
