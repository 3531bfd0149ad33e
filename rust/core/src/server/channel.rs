//! What a channel's user has yet to hear.

use std::collections::VecDeque;
use std::sync::Arc;

use super::connection::{Conn, Phase, State};
use super::queue::Work;
use super::shared::Deferred;
use super::types::Event;

/// At most so many events are handed out at once, so that a batch stays small.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 * 1024;

/// The events of one exchange, a chain: at most one thread works on it at a time.
#[derive(Debug, Default)]
pub(super) struct Channel {
    events: VecDeque<Event>,
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

impl Channel {
    pub(super) fn new(limit: usize) -> Box<Self> {
        Box::new(Self {
            limit,
            ..Self::default()
        })
    }

    /// Whether the user is so far behind that the socket should not be read.
    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.bytes >= MAX_EVENT_BYTES
    }

    fn push(&mut self, event: Event) {
        self.bytes += event.len();
        self.events.push_back(event);
    }

    /// The next events; the closing comes alone.
    fn take(&mut self) -> Vec<Event> {
        let mut bytes = 0;
        let mut count = 0;
        for event in self.events.iter().take(BATCH) {
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
        let mut batch: Vec<_> = self.events.drain(..count).collect();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        self.running = !batch.is_empty();
        self.taken = self.running;
        if let Some((code, reason)) = self.held_up_closing() {
            batch.insert(0, Event::Closing(code, reason));
        }
        batch
    }

    /// The closing that waits behind the callbacks of events that have been taken; told once.
    fn held_up_closing(&mut self) -> Option<(i32, String)> {
        match self.events.back() {
            Some(Event::Closed(code, reason)) if self.taken && !self.told => {
                self.told = true;
                Some((*code, reason.clone()))
            }
            _ => None,
        }
    }
}

/// Messages of one channel that wait for user code may take this much memory before reading stops.
const MAX_EVENT_BYTES: usize = 8 * 1024 * 1024;

impl Event {
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

impl State {
    pub(super) fn channel(&mut self, conn: &Conn) -> &mut Channel {
        let limit = conn.shared.config.max_pending_messages;
        self.channel.get_or_insert_with(|| Channel::new(limit))
    }

    /// Queues an event and, if nobody works on the chain, work for a thread.
    pub(super) fn report(&mut self, conn: &Arc<Conn>, event: Event) {
        let closing = matches!(event, Event::Closed(..) | Event::HalfClosed);
        let bound = self.name != 0;
        let name = self.name;
        let channel = self.channel(conn);
        channel.push(event);
        if let Some((code, reason)) = channel.held_up_closing() {
            // A callback may go on until it hears of this.
            conn.shared.defer(Deferred::Closing(name, code, reason));
        }
        // Before it is bound, the request itself has not reached user code: whoever takes it will see.
        if bound {
            self.begin_chain(conn, closing);
        }
    }

    /// Has a thread told of the channel's events, unless one is.
    fn begin_chain(&mut self, conn: &Arc<Conn>, closing: bool) {
        if std::mem::replace(&mut self.channel(conn).running, true) {
            return;
        }
        let work = Work::Events(self.exchange(conn));
        if closing {
            conn.shared.offer_closing(work)
        } else {
            conn.shared.offer(work)
        }
    }

    /// Throws away what has not been handed out, and hands over the closing, which must not be lost.
    pub(super) fn drop_messages(&mut self, conn: &Arc<Conn>) {
        let Some(channel) = &mut self.channel else {
            return;
        };
        let closing = channel
            .events
            .pop_back()
            .filter(|last| matches!(last, Event::Closed(..)));
        channel.events.clear();
        channel.bytes = 0;
        channel.running = false;
        channel.taken = false;
        if let Some(closing) = closing {
            self.report(conn, closing);
        }
    }
}

impl Conn {
    pub(super) fn bind(self: &Arc<Self>, seq: u32, name: i64) -> bool {
        let mut state = self.lock();
        if state.seq != seq || matches!(state.phase, Phase::Closed) {
            return false;
        }
        state.name = name;
        // The peer's end may have come before.
        if state.channel.is_some() {
            state.begin_chain(self, true);
        }
        true
    }

    pub(super) fn name(&self, seq: u32) -> i64 {
        let state = self.lock();
        if state.seq == seq { state.name } else { 0 }
    }

    pub(super) fn hold(self: &Arc<Self>, seq: u32) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        state.channel(self).held = true;
        if state.eof {
            state.leave(self);
            return false;
        }
        true
    }

    /// Not only for the current phase: the closing itself is heard after the connection is over.
    pub(super) fn take_events(&self, seq: u32) -> Vec<Event> {
        let mut state = self.lock();
        if state.seq != seq {
            return Vec::new();
        }
        let events = match &mut state.channel {
            Some(channel) => channel.take(),
            None => Vec::new(),
        };
        state.sent_in_callback = false;
        if events.is_empty() && state.transport.is_corked() {
            state.flush();
        }
        state.resume_reading();
        events
    }
}
