//! A channel: its events for user code, and back-pressure on its senders.

use std::sync::Arc;

use super::connection::{Conn, State};
use super::events::Events;
use super::exchange::Work;
use super::payload::Payload;
use super::shared::Deferred;
use super::transport::CORK_SIZE;
use super::types::{CORK, Event, Sent};

impl State {
    pub(super) fn channel(&mut self, conn: &Conn) -> &mut Events {
        let limit = conn.shared.config.max_pending_messages;
        self.channel.get_or_insert_with(|| Events::new(limit))
    }

    /// Queues an event and, if no thread is working on the chain, work for one.
    pub(super) fn report(&mut self, conn: &Arc<Conn>, event: Event) {
        let closing = matches!(event, Event::Closed(..) | Event::HalfClosed);
        let bound = self.name != 0;
        let name = self.name;
        let channel = self.channel(conn);
        channel.push(event);
        if let Some((code, reason)) = channel.held_up_closing() {
            // A callback may be running until it is told of this.
            conn.shared.defer(Deferred::Closing(name, code, reason));
        }
        // Before it is bound, the request itself has not reached user code: `bind` begins the chain.
        if bound {
            self.begin_chain(conn, closing);
        }
    }

    /// Queues work for the channel's events, unless a thread is working on them.
    fn begin_chain(&mut self, conn: &Arc<Conn>, closing: bool) {
        if !self.channel(conn).begin() {
            return;
        }
        let work = Work::Events(self.exchange(conn));
        if closing {
            conn.shared.offer_closing(work)
        } else {
            conn.shared.offer(work)
        }
    }

    /// Drops events that have not been handed out, except the close event, which must not be lost.
    pub(super) fn drop_messages(&mut self, conn: &Arc<Conn>) {
        let closing = self
            .channel
            .as_mut()
            .and_then(|channel| channel.drop_messages());
        if let Some(closing) = closing {
            self.report(conn, closing);
        }
    }

    /// Whether fewer than `limit` bytes are queued. If not, the caller is told when it may continue.
    pub(super) fn room_or_await(&mut self, conn: &Conn, limit: usize) -> bool {
        let has_room = |state: &Self| {
            let pending = state.transport.pending();
            pending < limit && (pending == 0 || !conn.shared.budget.is_exhausted())
        };
        if has_room(self) {
            return true;
        }
        if self.transport.is_corked() {
            // The socket may take what we only hold back.
            self.flush();
            if has_room(self) {
                return true;
            }
        }
        // Under the lock that a flush needs, so its end cannot be missed.
        self.drain = Some(conn.shared.clone());
        false
    }

    /// Sends one piece of a stream or one frame.
    ///
    /// The first send of a callback is written immediately: most callbacks send once, and corking costs the loop a
    /// wake-up. Later sends are corked until the callback ends.
    pub(super) fn send(&mut self, bytes: &[u8], flags: u32) {
        if flags & CORK != 0 && std::mem::replace(&mut self.sent_in_callback, true) {
            self.transport.push(bytes);
            if self.transport.pending() >= CORK_SIZE {
                self.flush()
            } else {
                self.transport.cork()
            }
        } else if self.transport.is_corked() {
            self.transport.push(bytes);
            self.flush();
        } else {
            self.transport.write(bytes, &[]);
        }
    }

    /// A callback has returned: flushes what it has sent.
    fn uncork(&mut self) {
        self.sent_in_callback = false;
        if self.transport.is_corked() {
            self.flush();
        }
    }

    /// As [`Self::send`], for a large payload, which is not corked.
    pub(super) fn send_payload(
        &mut self,
        head: &[u8],
        payload: Payload<'_>,
        tail: &[u8],
        flags: u32,
    ) {
        let gathers = flags & CORK != 0 && std::mem::replace(&mut self.sent_in_callback, true);
        if gathers || self.transport.is_corked() {
            self.transport.push_payload(head, payload, tail, 0);
            self.flush();
        } else {
            self.transport.write_payload(head, payload, tail);
        }
    }

    /// Everything is written, or lost: a sender that was refused may try again.
    pub(super) fn drained(&mut self) {
        if let Some(shared) = self.drain.take() {
            shared.note_drained(self.name, self.is_delivered());
        }
    }

    fn is_delivered(&self) -> bool {
        self.transport.all_is_written() && !self.transport.is_broken()
    }
}

impl Conn {
    pub(super) fn bind(self: &Arc<Self>, seq: u32, name: i64) -> bool {
        let mut state = self.lock();
        // Lingering: the request got its 503 while it was queued.
        if state.seq != seq || state.phase.is_ending() {
            return false;
        }
        state.name = name;
        // The peer may have ended its side already.
        if state.channel.is_some() {
            state.begin_chain(self, true);
        }
        true
    }

    pub(super) fn name(&self, seq: u32) -> i64 {
        let state = self.lock();
        if state.seq == seq { state.name } else { 0 }
    }

    pub(super) fn watch_peer(self: &Arc<Self>, seq: u32) -> bool {
        let Some(mut state) = self.current(seq) else {
            return false;
        };
        state.channel(self).held = true;
        if state.eof {
            state.leave(self);
            self.shared.tally.note_written();
            return false;
        }
        true
    }

    /// In any phase: the close event is delivered after the connection has ended.
    pub(super) fn take_events(&self, seq: u32) -> Vec<Event> {
        let mut state = self.lock();
        if state.seq != seq {
            return Vec::new();
        }
        let events = match &mut state.channel {
            Some(channel) => channel.take(),
            None => Vec::new(),
        };
        // The chain ends when there are none, under the same lock under which `report` begins the next one.
        state.uncork();
        self.shared.tally.note_written();
        state.account_less(self);
        state.resume_reading(self);
        events
    }

    pub(super) fn await_room(&self, seq: u32, limit: usize) -> bool {
        self.current(seq)
            .is_some_and(|mut state| !state.room_or_await(self, limit))
    }

    /// The callback that corked its sends is over.
    pub(super) fn uncork(&self, seq: u32) {
        if let Some(mut state) = self.current(seq) {
            state.uncork();
            self.shared.tally.note_written();
        }
    }

    pub(super) fn pending(&self, seq: u32) -> usize {
        self.current(seq)
            .map_or(0, |state| state.transport.pending())
    }

    /// In any phase: what was sent before a WebSocket's close may be written after it.
    pub(super) fn when_drained(&self, seq: u32) -> Sent {
        let mut state = self.lock();
        if state.seq == seq && state.is_delivered() {
            return Sent::Accepted;
        }
        if state.seq != seq || state.name == 0 || state.transport.is_broken() {
            return Sent::Closed;
        }
        state.drain = Some(self.shared.clone());
        Sent::Full
    }
}
