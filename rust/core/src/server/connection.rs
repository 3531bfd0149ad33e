//! One connection: what its task does next, and how it ends.
//!
//! Its task reads, and flushes what the socket did not accept immediately; a responding thread writes directly. Both go
//! through [`State`], whose lock is held for a parse, a copy or non-blocking system calls, never over an upcall or an
//! await.
//!
//! Not here: the task itself (`task.rs`), sockets and bytes (`transport.rs`), parsing (`inbound.rs`), when it stops
//! reading (`backpressure.rs`), responding (`respond.rs`), WebSockets (`websocket.rs`).

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::events::Events;
use super::exchange::{Exchange, Request, Work};
use super::half_closed::Ticket;
use super::inbound::Inbound;
use super::journal::Journal;
use super::limits::Timeout;
use super::phase::{Phase, Receiving, Responding};
use super::reader::Reader;
use super::shared::Shared;
use super::sink::Notice;
use super::socket::{Ends, WriteHalf};
use super::tally::Moment;
use super::timers::{Timers, Wait};
use super::transport::Transport;
use crate::h1::proxy::ProxyMode;

/// How long a WebSocket's peer may read nothing of the bytes that precede our close frame.
const UNREAD_CLOSE_TIME: Duration = Duration::from_secs(10);
/// Unread response bytes above which a peer's pipelined requests are held back.
pub(super) const MAX_UNREAD_RESPONSES: usize = 256 * 1024;

/// One connection, shared by its task and the exchanges on it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) shared: Arc<Shared>,
    /// The number of the loop that serves it.
    pub(super) event_loop: usize,
    ends: Ends,
    state: Mutex<State>,
}

impl Drop for Conn {
    /// What user code never took ends here.
    fn drop(&mut self) {
        let units = self.state.get_mut().units;
        self.shared.budget.change(units, 0);
    }
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) transport: Transport,
    pub(super) phase: Phase,
    /// Number of the current exchange. A call with another number is stale.
    pub(super) seq: u32,
    /// Where the server's list has this connection.
    pub(super) slot: u32,
    /// When the current phase began, or last went on, by the server's [`Clock`](super::clock::Clock).
    pub(super) since: u32,
    /// When its head had arrived.
    pub(super) arrived: Moment,
    /// The embedder's name for the current exchange; 0 until it is bound.
    pub(super) name: i64,
    pub(super) inbound: Inbound,
    pub(super) eof: bool,
    /// Set while the peer has ended its side and is still owed a response.
    pub(super) half_closed: Option<Box<Ticket<Conn>>>,
    /// While the server stops, or a new connection needs the place of this one, which is over: since when it has
    /// received nothing.
    pub(super) silent_since: Option<Box<Instant>>,
    /// The peer has sent something after the connection's last bytes were written or queued.
    pub(super) sends_on: bool,
    /// Its address counts towards the limit per address.
    pub(super) counted: bool,
    /// Reading stopped because something was full.
    pub(super) paused: bool,
    /// The running callback has sent something.
    pub(super) sent_in_callback: bool,
    /// A sender was refused because the queue was full; [`State::drained`] notifies it.
    pub(super) drain: Option<Arc<Shared>>,
    /// Pipelined requests handed to the same thread in a row.
    pub(super) in_a_row: u8,
    /// What it counts in the server's [`Budget`].
    pub(super) units: u16,
    pub(super) channel: Option<Box<Events>>,
    /// For the access log, if there is one.
    pub(super) log: Option<Box<Journal>>,
}

/// What the task does next, as decided under the lock.
pub(super) enum Next {
    Read,
    Wait,
    Close,
    /// Hand this over, then decide again.
    Offer(Box<Request>),
}

impl Conn {
    pub(super) fn new(
        shared: Arc<Shared>,
        event_loop: usize,
        write: WriteHalf,
        ends: Ends,
    ) -> Arc<Self> {
        let state = State {
            transport: Transport::new(write),
            phase: Phase::Http(Receiving::Requests, Responding::Idle),
            seq: 0,
            slot: 0,
            since: shared.clock.now(),
            arrived: Moment::default(),
            name: 0,
            inbound: Inbound::new(&shared.config),
            eof: false,
            half_closed: None,
            silent_since: None,
            sends_on: false,
            counted: shared.config.proxy == ProxyMode::Disable,
            paused: false,
            sent_in_callback: false,
            drain: None,
            in_a_row: 0,
            units: 0,
            channel: None,
            log: shared.access.clone().map(Journal::new),
        };
        Arc::new(Self {
            shared,
            event_loop,
            ends,
            state: Mutex::new(state),
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The state, if `seq` is its current exchange.
    pub(super) fn current(&self, seq: u32) -> Option<MutexGuard<'_, State>> {
        let state = self.lock();
        // For user code a failed write ends the exchange, even before the task has read the cause.
        let over = state.transport.is_broken()
            || matches!(
                state.phase,
                Phase::Http(_, Responding::Idle) | Phase::Lingering | Phase::Closed
            );
        (state.seq == seq && !over).then_some(state)
    }

    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    pub(super) fn received(self: &Arc<Self>, fresh: &mut [u8]) {
        let mut state = self.lock();
        state.silent_since = None;
        state.sends_on = state.is_at_end();
        match state.transport.tls() {
            None => self.deliver(state, fresh, fresh.len()),
            Some(_) => self.received_sealed(state, fresh),
        }
    }

    /// What the peer has sent, as plaintext. Of it, `came` bytes have not counted as progress so far.
    pub(super) fn deliver<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
        fresh: &[u8],
        came: usize,
    ) {
        match &state.phase {
            Phase::Http(Receiving::Requests, _) => {
                let request = match state.inbound.redirected {
                    false => state.next_request(self, fresh, came),
                    true => state.redirect(self, fresh),
                };
                drop(state);
                if let Some(request) = request {
                    self.shared.offer(Work::Request(request));
                }
            }
            Phase::Http(Receiving::Body, _) => state.received_body(self, fresh, came),
            Phase::Http(Receiving::Behind | Receiving::HeldBack, _) => state.inbound.keep(fresh),
            Phase::WebSocket(_) => state.received_frames(self, fresh),
            Phase::Lingering | Phase::Closed => {}
        }
    }
}

impl State {
    /// Flushes, and decides what the task does next.
    ///
    /// The order matters. Writing comes first, because the checks after it ask what is still queued. Reasons to close
    /// come before reasons to wait for the peer, and reading comes last: a read that finds nothing suspends the task.
    pub(super) fn turn(
        &mut self,
        conn: &Arc<Conn>,
        cx: &mut Context<'_>,
        timers: &mut Timers,
        reader: &Reader,
    ) -> Next {
        self.flush_what_is_due(conn, cx, timers);
        self.account(conn);
        self.cut_if_stuck(conn, cx, timers);
        // A held-back request continues only once the peer has read, which the flush has just found out.
        if let Some(request) = self.release_held_back(conn) {
            return Next::Offer(Box::new(request));
        }
        match self.phase {
            Phase::Closed => return Next::Close,
            Phase::Lingering => return self.linger(conn, cx, timers),
            _ => {}
        }
        if self.is_closing_websocket() && self.is_close_overdue(conn, cx, timers) {
            self.phase = Phase::Lingering;
            return Next::Close;
        }
        if self.eof {
            return self.await_response(conn, cx, timers);
        }
        self.ping_if_silent(cx, timers, conn);
        self.beat(cx, timers);
        // It may have left our ping unanswered, which closes the connection.
        if matches!(self.phase, Phase::Closed) {
            return Next::Close;
        }
        // Under the same lock as the check: a thread that makes room after this sees that we have stopped, and wakes
        // us.
        self.paused = self.is_full(conn);
        if !self.paused || self.is_peer_gone(cx, timers, reader) {
            return Next::Read;
        }
        Next::Wait
    }

    /// Whether the peer has disconnected while we do not read; wakes the task to check again.
    fn is_peer_gone(&self, cx: &mut Context<'_>, timers: &mut Timers, reader: &Reader) -> bool {
        // Without reading, a disconnect must still be noticed. The socket stays readable and never wakes us for it, so
        // it is polled on a timer. What arrived before a peer's end must not exceed a body's window.
        let gone = match self.phase {
            Phase::Http(Receiving::Body, _) => reader.is_broken(cx),
            _ => reader.peer_closed(cx),
        };
        if !gone && timers.passed(cx, Wait::Watch) {
            cx.waker().wake_by_ref();
        }
        gone
    }

    fn flush_what_is_due(&mut self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) {
        self.transport.served_by(cx);
        // Once the connection is ending, nothing follows that the last bytes could be combined with.
        let corked = self.transport.is_corked() && !self.phase.is_ending();
        if !self.transport.all_is_written()
            && (!corked || timers.passed(cx, Wait::Cork))
            && self.transport.flush_in_loop(cx)
        {
            self.all_written();
        } else {
            self.settle_log();
        }
        if !self.transport.is_corked() {
            timers.over(Wait::Cork);
        }
        conn.shared.note_freed(self.transport.take_freed());
    }

    /// Ends a connection that cannot send: its content failed, or its peer does not read.
    fn cut_if_stuck(&mut self, conn: &Arc<Conn>, cx: &mut Context<'_>, timers: &mut Timers) {
        if let Some(error) = self.transport.take_failed_content() {
            conn.shared.notice(Notice::File(error.to_string()));
            self.reset(conn);
        }
        // Without EOF, the read side reports why writing failed. With TLS it may not: sealing fails without the socket.
        if self.transport.is_broken() && (self.eof || self.transport.tls().is_some()) {
            self.lost(conn);
        }
        if self.transport.all_is_written() {
            timers.all_taken();
        } else if self.has_to_be_read() && self.note_if_unread(conn, cx, timers) {
            self.reset(conn);
        }
    }

    /// Whether the peer has read next to nothing of what is queued for as long as it may. That is counted and logged.
    fn note_if_unread(&mut self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) -> bool {
        let Some(limit) = conn.shared.config.times.write else {
            return false;
        };
        let overdue = timers.stalled(cx, limit, || self.taken(conn));
        if overdue {
            conn.shared.note_timeout(Timeout::Write);
            self.log_write_timeout();
        }
        overdue
    }

    /// The next pipelined request, if it was held back until the peer reads and may continue now.
    fn release_held_back(&mut self, conn: &Arc<Conn>) -> Option<Request> {
        if !self.is_held_back() || self.unread_responses() > MAX_UNREAD_RESPONSES {
            return None;
        }
        self.phase = Phase::Http(Receiving::Requests, Responding::Idle);
        if self.inbound.waiting() > 0
            && let Some(request) = self.next_request(conn, &[], 0)
        {
            return Some(request);
        }
        self.finish_if_all_is_said();
        None
    }

    fn is_held_back(&self) -> bool {
        matches!(self.phase, Phase::Http(Receiving::HeldBack, _))
    }

    /// Pings a WebSocket's peer after the configured silence, if pings are enabled.
    fn ping_if_silent(&mut self, cx: &mut Context<'_>, timers: &mut Timers, conn: &Arc<Conn>) {
        if let Phase::WebSocket(session) = &self.phase
            && self.leaves_messages(session, conn)
        {
            // This silence is not the peer's.
            return timers.heard();
        }
        while let Phase::WebSocket(session) = &self.phase
            && let Some(patience) = session.patience()
            && let Some(deadline) = timers.silent(cx, patience)
        {
            // If the kernel holds received bytes, we are slow, not the peer; unless it makes us leave them there.
            if self.transport.has_input() && !self.is_full(conn) {
                return timers.heard();
            }
            self.tick(conn, deadline);
        }
    }

    pub(super) fn is_closing_websocket(&self) -> bool {
        matches!(&self.phase, Phase::WebSocket(session) if session.is_closing())
    }

    /// Whether nothing that the peer sends is answered any more.
    pub(super) fn is_at_end(&self) -> bool {
        matches!(self.phase, Phase::Lingering) || self.is_closing_websocket()
    }

    /// Whether the peer must keep reading what is queued, responses and what a channel sends. Where a connection ends,
    /// other limits apply.
    fn has_to_be_read(&self) -> bool {
        !self.phase.is_ending() && !self.is_closing_websocket() && !self.transport.is_corked()
    }

    /// The peer can return our close frame only once it has read what was sent before it.
    fn is_close_overdue(&self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) -> bool {
        match self.transport.all_is_written() {
            true => timers.passed(cx, Wait::CloseFrame),
            false => timers.stalled(cx, UNREAD_CLOSE_TIME, || self.taken(conn)),
        }
    }

    fn taken(&self, conn: &Conn) -> u64 {
        self.transport.taken(conn.shared.config.unsent)
    }

    fn linger(&mut self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) -> Next {
        if self.transport.is_closed() {
            return Next::Close;
        }
        if !self.transport.all_is_written() {
            if self.note_if_unread(conn, cx, timers) {
                self.transport.reset_on_close();
                return Next::Close;
            }
            // The peer may read from us only after we have read from it, unless it has ended its side.
            return if self.eof { Next::Wait } else { Next::Read };
        }
        if self.eof || !self.inbound.may_send_more() {
            return match self.transport.tell_end() {
                true => Next::Close,
                false => Next::Wait,
            };
        }
        // Closing with unread input resets the connection, and the peer could lose the response. So we end our side
        // first, and read what it still sends.
        self.transport.end();
        if timers.passed(cx, Wait::Linger) {
            return Next::Close;
        }
        Next::Read
    }

    /// Writes as much of the queue as the socket accepts; the loop writes the rest.
    pub(super) fn flush(&mut self) {
        if self.transport.flush() {
            self.all_written();
        }
    }

    fn all_written(&mut self) {
        self.settle_log();
        self.note_sent();
        self.drained();
    }

    pub(super) fn exchange(&self, conn: &Arc<Conn>) -> Exchange {
        Exchange {
            conn: conn.clone(),
            seq: self.seq,
        }
    }
}
