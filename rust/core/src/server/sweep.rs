//! Time limits on what peers send and on handlers, for all connections of a server together.
//!
//! A timer per request would cost each request and each idle connection. Instead a connection notes when it last made
//! progress ([`State::since`]), by a clock that is advanced here, and one task checks a part of the connections at a
//! time. So a limit is enforced within a second, and never early.
//!
//! Time in which this task did not run does not count: a process that was suspended, or whose loop was held up, must
//! not hold that against its peers.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::body::BodyFault;
use super::clock::TICK;
use super::connection::{Conn, State};
use super::inbound::Awaited;
use super::limits::{Timeout, Times};
use super::phase::{Phase, Receiving, Responding};
use super::session::GOING_AWAY;
use super::shared::{Deferred, Shared};
use super::sink::Notice;
use super::types::Event;

/// Steps in which all connections are checked once.
const PARTS: usize = 16;
/// Connections checked before the task yields to others on the loop.
const BATCH: usize = 256;
/// Connections that are checked once more in the next step, at most: a byte that has just come put them off.
const MOST_AGAIN: usize = 1024;

/// Enforces the connections' time limits.
pub(super) async fn sweep(shared: Arc<Shared>) {
    let config = &shared.config;
    // The clock is also needed to tell which connections have been idle for longest, and the check to learn what they
    // have come to share.
    let for_others = config.max_connections.is_some() || config.max_buffered.is_some();
    if !config.times.are_checked() && !for_others {
        return;
    }
    let mut last = Instant::now();
    let mut at = 0;
    let mut again: Vec<Weak<Conn>> = Vec::new();
    loop {
        if shared.connections.len() == 0 {
            shared.clock.started().await;
            last = Instant::now();
        }
        sleep(TICK).await;
        let now = Instant::now();
        last = now - shared.clock.advance(now - last);
        let slots = shared.connections.slots();
        for conn in again.drain(..).filter_map(|conn| conn.upgrade()) {
            conn.check_time();
        }
        // A list that grows or shrinks meanwhile only changes how many are checked per step.
        let end = (at + slots.div_ceil(PARTS)).min(slots);
        while at < end {
            let to = (at + BATCH).min(end);
            for conn in shared.connections.at(at..to) {
                if conn.check_time() && again.len() < MOST_AGAIN {
                    again.push(Arc::downgrade(&conn));
                }
            }
            at = to;
            tokio::task::yield_now().await;
        }
        if at >= slots {
            at = 0;
        }
    }
}

impl Conn {
    /// True if a limit has passed, but the kernel holds received bytes: then we are slow, not the peer.
    fn check_time(self: &Arc<Self>) -> bool {
        let mut state = self.lock();
        // What it shares with others, these may have come to share since.
        state.account_less(self);
        let clock = &self.shared.clock;
        if state.keeps_us_waiting() {
            // The responses that it has to read first have a limit of their own.
            state.since = clock.now();
        }
        let Some((timeout, limit)) = state.limit(&self.shared.config.times) else {
            return false;
        };
        let since = match (timeout, state.inbound.peek_stream()) {
            (Timeout::Handler, Some(stream)) => stream.since,
            _ => state.since,
        };
        if !clock.is_past(since, limit) {
            return false;
        }
        if timeout != Timeout::Handler && state.transport.has_input() {
            return true;
        }
        self.shared.note_timeout(timeout);
        state.time_out(self, timeout);
        self.shared.tally.note_written();
        false
    }
}

impl Shared {
    /// Counts and reports a time limit that has been exceeded.
    pub(super) fn note_timeout(&self, timeout: Timeout) {
        self.counters.note_timeout(timeout);
        self.notice(Notice::Timeout(timeout));
    }
}

impl State {
    /// Whether the peer need not send now: it has a response to read first, or user code is behind.
    fn keeps_us_waiting(&self) -> bool {
        match self.phase {
            Phase::Http(Receiving::HeldBack, _) => true,
            Phase::Http(_, Responding::Idle) => {
                !self.transport.all_is_written() && self.inbound.awaited() == Awaited::Request
            }
            // No reader waits for more of the body.
            Phase::Http(Receiving::Body, _) => !self.inbound.is_body_awaited(),
            Phase::WebSocket(_) => self.is_user_behind(),
            _ => false,
        }
    }

    /// The limit that applies now, if any.
    fn limit(&self, times: &Times) -> Option<(Timeout, Duration)> {
        let (timeout, limit) = match &self.phase {
            Phase::Http(Receiving::Requests, Responding::Idle) => match self.inbound.awaited() {
                Awaited::Request if self.seq > 0 => (Timeout::Idle, times.idle),
                Awaited::Request | Awaited::Head => (Timeout::Header, times.header),
                Awaited::Body => (Timeout::Body, times.body),
            },
            Phase::Http(Receiving::Body, responding)
                if self.inbound.is_body_awaited() || !matches!(responding, Responding::Due(_)) =>
            {
                (Timeout::Body, times.body)
            }
            Phase::Http(_, Responding::Due(_)) => (Timeout::Handler, times.handler),
            Phase::WebSocket(session) if !session.is_closing() => (Timeout::Ws, times.ws_idle),
            _ => return None,
        };
        Some((timeout, limit?))
    }

    /// A part of a record has arrived, of which nothing can be read yet. `first`: as its first part.
    pub(super) fn note_part(&mut self, conn: &Conn, part: usize, first: bool) {
        let goes_on = match &mut self.phase {
            Phase::Http(Receiving::Body, _) => self.inbound.note_received(part),
            Phase::Http(Receiving::Requests, _) => match self.inbound.awaited() {
                Awaited::Body => self.inbound.note_received(part),
                Awaited::Request => first && self.seq > 0,
                Awaited::Head => false,
            },
            Phase::WebSocket(session) => {
                session.heard();
                true
            }
            _ => false,
        };
        if goes_on {
            self.since = conn.shared.clock.now();
        }
    }

    /// Received bytes did not complete a request. Before them, `before` was awaited.
    pub(super) fn note_progress(&mut self, conn: &Conn, before: Awaited, received: usize) {
        let goes_on = match (before, self.inbound.awaited()) {
            (Awaited::Body, Awaited::Body) => self.inbound.note_received(received),
            (Awaited::Request, Awaited::Head) => self.seq > 0,
            (before, now) => now == Awaited::Body && before != now,
        };
        if goes_on {
            self.since = conn.shared.clock.now();
        }
    }

    fn time_out(&mut self, conn: &Arc<Conn>, timeout: Timeout) {
        if !matches!(timeout, Timeout::Idle | Timeout::Header) {
            self.log_timeout();
        }
        if timeout == Timeout::Handler {
            return self.give_up_on_handler(conn);
        }
        if timeout == Timeout::Header {
            self.note_cut_handshake(conn);
        }
        if let Some(stream) = self.inbound.stream() {
            match stream.is_unwanted() {
                true => self.inbound.drop_input(),
                false => {
                    stream.fail(BodyFault::TimedOut);
                    self.give_up_body();
                    return self.wake_reader(conn);
                }
            }
            return self.finish_connection();
        }
        match (timeout, self.inbound.awaited()) {
            (Timeout::Ws, _) => {
                self.start_closing(conn, GOING_AWAY, "idle");
                return;
            }
            (Timeout::Header, Awaited::Head) => {
                self.refuse_slow_request(conn);
                // Its next byte may come at any time: do not wait for it.
                self.inbound.clear();
            }
            (Timeout::Body, _) => {
                self.refuse_slow_request(conn);
                self.inbound.drop_input();
            }
            _ => self.inbound.clear(),
        }
        self.finish_connection();
    }

    /// A response that the handler sends later has no effect. Its channel is closed as if by the server.
    fn give_up_on_handler(&mut self, conn: &Arc<Conn>) {
        conn.shared.tally.head(503, self.arrived, true);
        // Without a name, it is still queued: no thread has it.
        if conn.shared.config.interrupt && self.name != 0 {
            conn.shared.defer(Deferred::Overdue(self.name));
        }
        self.send_last(conn, 503);
        // The peer does not know yet that we close.
        self.inbound.drop_input();
        self.finish_connection();
        self.drained();
        self.report(conn, Event::Closed(0, String::new()));
    }

    /// 408: the peer may be gone.
    fn refuse_slow_request(&mut self, conn: &Arc<Conn>) {
        conn.shared.tally.request();
        conn.shared.tally.status(408);
        self.log_refused(conn, &[]);
        self.log_timeout();
        self.send_last(conn, 408);
    }

    pub(super) fn send_last(&mut self, conn: &Conn, status: u16) {
        let mut response = Vec::with_capacity(128);
        conn.shared.last_response(&mut response, status);
        self.log_response(status, &response);
        self.transport.write(&response, &[]);
    }
}
