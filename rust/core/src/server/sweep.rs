//! Time limits on what a peer sends, for all connections of a server together.
//!
//! A timer per request would cost each request and each idle connection. Instead a connection notes when it last went
//! on ([`State::since`]), by a clock that is advanced here, and one task looks at a part of the connections at a time.
//! So a limit is enforced within a second, and never early.
//!
//! Time in which this task did not run does not count: a process that was suspended, or whose loop was held up, must not
//! hold that against its peers.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::body::BodyFault;
use super::clock::TICK;
use super::connection::{Conn, State};
use super::inbound::Awaited;
use super::limits::{Timeout, Times};
use super::phase::{Phase, Receiving, Responding};
use super::shared::Shared;
use super::sink::Notice;

/// Looks that it takes to see all of them.
const PARTS: usize = 16;
/// Connections looked at before others get their turn on the loop.
const BATCH: usize = 256;
/// Pause after a panic.
const PANIC_REST: Duration = Duration::from_secs(1);

/// Looks after the connections' time limits for as long as the loop lives, whatever happens in between.
pub(super) async fn keep_sweeping(shared: Arc<Shared>) {
    while tokio::spawn(sweep(shared.clone()))
        .await
        .is_err_and(|e| e.is_panic())
    {
        shared.notice(Notice::LoopError("a check of time limits panicked".into()));
        sleep(PANIC_REST).await;
    }
}

async fn sweep(shared: Arc<Shared>) {
    // The clock is also needed to tell which connections have been idle for longest.
    if !shared.config.times.are_checked() && shared.config.max_connections.is_none() {
        return;
    }
    let mut last = Instant::now();
    let mut at = 0;
    loop {
        if shared.connections.len() == 0 {
            shared.clock.started().await;
            last = Instant::now();
        }
        sleep(TICK).await;
        let now = Instant::now();
        shared.clock.advance(now - last);
        last = now;
        let places = shared.connections.places();
        // A list that grows or shrinks meanwhile only changes how much is seen at a time.
        let end = (at + places.div_ceil(PARTS)).min(places);
        while at < end {
            let to = (at + BATCH).min(end);
            for conn in shared.connections.at(at..to) {
                conn.check_time();
            }
            at = to;
            tokio::task::yield_now().await;
        }
        if at >= places {
            at = 0;
        }
    }
}

impl Conn {
    fn check_time(self: &Arc<Self>) {
        let mut state = self.lock();
        let clock = &self.shared.clock;
        if state.keeps_us_waiting() {
            // What it has to read first has a limit of its own.
            state.since = clock.now();
            return;
        }
        let Some((timeout, limit)) = state.limit(&self.shared.config.times) else {
            return;
        };
        // With bytes in the kernel it is not the peer that is slow.
        if clock.is_past(state.since, limit) && !state.transport.has_input() {
            self.shared.note_timeout(timeout);
            state.time_out(self, timeout);
        }
    }
}

impl Shared {
    /// Counts and tells of a time limit that is over.
    pub(super) fn note_timeout(&self, timeout: Timeout) {
        self.counters.note_timeout(timeout);
        self.notice(Notice::Timeout(timeout));
    }
}

impl State {
    /// Whether the peer has yet to read a response before more is expected of it.
    fn keeps_us_waiting(&self) -> bool {
        match self.phase {
            Phase::Http(Receiving::HeldBack, _) => true,
            Phase::Http(_, Responding::Idle) => {
                !self.transport.all_is_written() && self.inbound.awaited() == Awaited::Request
            }
            // No reader waits for more of the body.
            Phase::Http(Receiving::Body, _) => !self.inbound.is_body_awaited(),
            _ => false,
        }
    }

    /// The limit that applies now, if any.
    fn limit(&self, times: &Times) -> Option<(Timeout, Duration)> {
        match self.phase {
            Phase::Http(Receiving::Requests, Responding::Idle) => {}
            Phase::Http(Receiving::Body, _) => return Some((Timeout::Body, times.body?)),
            _ => return None,
        }
        let (timeout, limit) = match self.inbound.awaited() {
            Awaited::Request if self.seq > 0 => (Timeout::Idle, times.idle),
            Awaited::Request | Awaited::Head => (Timeout::Header, times.header),
            Awaited::Body => (Timeout::Body, times.body),
        };
        Some((timeout, limit?))
    }

    /// Received bytes did not complete a request. Before them, `before` was awaited.
    pub(super) fn note_progress(&mut self, conn: &Conn, before: Awaited, received: usize) {
        let goes_on = match (before, self.inbound.awaited()) {
            (Awaited::Body, Awaited::Body) => self.inbound.is_progress(received),
            (Awaited::Request, Awaited::Head) => self.seq > 0,
            (before, now) => now == Awaited::Body && before != now,
        };
        if goes_on {
            self.since = conn.shared.clock.now();
        }
    }

    fn time_out(&mut self, conn: &Arc<Conn>, timeout: Timeout) {
        if let Some(stream) = self.inbound.stream() {
            match stream.is_unwanted() {
                true => self.inbound.refuse(),
                false => {
                    stream.fail(BodyFault::TimedOut);
                    self.inbound.ignore_input();
                    return self.wake_reader(conn);
                }
            }
            return self.finish_connection();
        }
        match (timeout, self.inbound.awaited()) {
            (Timeout::Header, Awaited::Head) => {
                self.respond_in_vain(conn);
                // Its next byte may come at any time: do not wait for it.
                self.inbound.clear();
            }
            (Timeout::Body, _) => {
                self.respond_in_vain(conn);
                self.inbound.refuse();
            }
            _ => self.inbound.clear(),
        }
        self.finish_connection();
    }

    /// 408: the peer may be gone.
    fn respond_in_vain(&mut self, conn: &Arc<Conn>) {
        let mut response = Vec::with_capacity(128);
        conn.shared.last_response(&mut response, 408);
        conn.shared.tally.request();
        conn.shared.tally.status(408);
        self.transport.write(&response, &[]);
    }
}
