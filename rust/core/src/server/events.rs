//! The events of a channel that its user code has yet to hear.
//!
//! They are a chain: at most one thread works on it at a time, in order, until there are none. Which thread that is,
//! `channel.rs` arranges.

use std::collections::VecDeque;

use super::types::Event;

/// Events that are handed out at once, at most, so that a batch stays small.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;
/// The messages of one channel that user code has yet to hear may take this much memory before reading stops.
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
    /// It has been told of a closing behind these events.
    told: bool,
    /// User code keeps the exchange and wants to hear when the peer leaves.
    pub(super) held: bool,
    limit: usize,
}

impl Events {
    /// Full from `limit` events on.
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

    pub(super) fn push(&mut self, event: Event) {
        self.bytes += event.len();
        self.queue.push_back(event);
    }

    /// True when no thread works on the chain: the caller has to make one do so.
    pub(super) fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.running, true)
    }

    /// The next events; the closing comes alone.
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

    /// The closing that is behind the callbacks of events that have been taken; told once.
    pub(super) fn held_up_closing(&mut self) -> Option<(i32, String)> {
        match self.queue.back() {
            Some(Event::Closed(code, reason)) if self.taken && !self.told => {
                self.told = true;
                Some((*code, reason.clone()))
            }
            _ => None,
        }
    }

    /// Drops what has not been handed out, and ends the chain: no thread has come for it. The closing, which must
    /// not be lost, is returned.
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
