//! One connection: what the loop does with it.
//!
//! The loop's task reads and flushes; whoever answers writes directly, from
//! any thread. Both go through [`State`], whose lock is held for a parse, a
//! copy or one non-blocking system call, never over an upcall or an await.
//!
//! Not here: answering (`answer.rs`), WebSocket (`websocket.rs`), parsing (`inbound.rs`).

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::ReadBuf;
use tokio::time::{Instant, Sleep, sleep_until};

use super::channel::Channel;
use super::exchange::{Exchange, Request};
use super::half_closed::Ticket;
use super::inbound::{Inbound, Terms};
use super::output::{Chunk, Failure, LEAST_TAKEN, Output, Payload};
use super::queue::Work;
use super::shared::Shared;
use super::sink::Notice;
use super::socket::{Ends, ReadHalf, WriteHalf};
use super::types::Event;
use super::websocket::{CLOSE_TIME, Session};

/// How much is read at once, into a buffer that all connections of a loop share.
const READ: usize = 64 * 1024;
/// Bytes behind a running request that are kept before reading stops.
const MAX_PIPELINED: usize = 64 * 1024;
/// Corked bytes leave after this at the latest.
const CORK_TIME: Duration = Duration::from_millis(1);
/// How long a connection that has been answered for the last time waits for the peer to finish sending.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How long a WebSocket's peer may take nothing of what was sent before our close frame.
const UNREAD_CLOSE_TIME: Duration = Duration::from_secs(10);
/// How often a connection whose input is full is checked for having been closed.
const WATCH_TIME: Duration = Duration::from_millis(250);
/// While more of its answers than this wait for a peer, its pipelined requests wait as well.
pub(super) const MAX_UNREAD_ANSWERS: usize = 256 * 1024;
/// Pongs and the like that a peer does not read stop our reading at this many bytes.
const MAX_UNREAD_REPLIES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// One connection, shared by its task and the exchanges on it.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(super) shared: Arc<Shared>,
    ends: Ends,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Between requests, or receiving one.
    Reading,
    /// A request is with user code, nothing is answered.
    Waiting(Terms),
    /// An answer of known length is being sent; so much of its body is to come.
    Sending(Terms, u64),
    /// An answer of unknown length is being sent.
    Streaming(Terms),
    WebSocket(Box<Session>),
    /// All is said; what waits is flushed, then the peer may end.
    Lingering,
    Closed,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) io: Option<WriteHalf>,
    task: Option<Waker>,
    pub(super) phase: Phase,
    /// Number of the current exchange: a call with another one is stale.
    pub(super) seq: u32,
    /// What the embedder calls the current exchange; 0 until it was bound.
    pub(super) name: i64,
    pub(super) inbound: Inbound,
    pub(super) out: Output,
    /// `out` may wait for more.
    pub(super) corked: bool,
    pub(super) eof: bool,
    /// Set while the peer has ended its side and is still owed a response.
    pub(super) half_closed: Option<Box<Ticket<Conn>>>,
    /// The next pipelined request waits until the peer has read more of its answers.
    pub(super) held_back: bool,
    /// Since when a stopping server has received nothing.
    pub(super) silent_since: Option<Instant>,
    /// A write has failed. Reading tells why, as long as the peer has not ended its side.
    broken: bool,
    /// What was to be sent could not be read to its end: its peer must see that.
    failed_content: Option<Box<io::Error>>,
    /// Reading stopped because something was full.
    paused: bool,
    /// The callback that runs has sent something.
    pub(super) sent_in_callback: bool,
    /// Somebody was refused for want of room and waits for [`State::drained`].
    pub(super) drain: Option<Arc<Shared>>,
    /// Who waits for room does not do so for ever, see [`super::INSIST`].
    pub(super) insisted: bool,
    /// Pipelined requests handed to the same thread in a row.
    pub(super) in_a_row: u8,
    pub(super) channel: Option<Box<Channel>>,
}

/// What only the task needs, and only in rare states.
#[derive(Default)]
pub(super) struct Timers {
    /// By [`Wait`]. Each has its own: one that took another's place would put that one off for ever.
    sleeps: [Option<Pin<Box<Sleep>>>; WAITS],
    /// For a WebSocket's peer that has been silent, see `Session::patience`.
    peer: Option<Pin<Box<Sleep>>>,
    /// For a peer that has ended its side.
    half_closed: Option<Pin<Box<Sleep>>>,
    unread: Option<Unread>,
}

/// A peer has something to read, and `time` to take some of it.
struct Unread {
    time: Duration,
    /// How much it had taken at the beginning.
    mark: u64,
    sleep: Pin<Box<Sleep>>,
}

/// What a connection's task can be waiting for besides its socket.
#[derive(Clone, Copy)]
enum Wait {
    Cork,
    Linger,
    Watch,
    CloseFrame,
}

const WAITS: usize = 4;

impl Wait {
    fn time(self) -> Duration {
        match self {
            Self::Cork => CORK_TIME,
            Self::Linger => LINGER_TIME,
            Self::Watch => WATCH_TIME,
            Self::CloseFrame => CLOSE_TIME,
        }
    }
}

impl Timers {
    /// True once the time of `wait` has passed since it was first asked for; the task is woken then.
    fn passed(&mut self, cx: &mut Context<'_>, wait: Wait) -> bool {
        let slot = &mut self.sleeps[wait as usize];
        let sleep = slot.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait.time())));
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        *slot = None;
        true
    }

    /// What `wait` was asked for has come about: the next one begins anew.
    fn over(&mut self, wait: Wait) {
        self.sleeps[wait as usize] = None;
    }

    /// True once the peer has taken next to nothing for `time`, as `taken` counts, and that `matters`.
    fn stalled(
        &mut self,
        cx: &mut Context<'_>,
        time: Duration,
        matters: bool,
        taken: impl Fn() -> u64,
    ) -> bool {
        if self
            .unread
            .as_ref()
            .is_some_and(|unread| unread.time != time)
        {
            self.unread = None;
        }
        let Unread { mark, sleep, .. } = self.unread.get_or_insert_with(|| Unread {
            time,
            mark: taken(),
            sleep: Box::pin(sleep_until(Instant::now() + time)),
        });
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = taken();
        if matters && now.wrapping_sub(*mark).cast_signed() < LEAST_TAKEN {
            return true;
        }
        *mark = now;
        sleep.as_mut().reset(Instant::now() + time);
        sleep.as_mut().poll(cx).is_ready()
    }

    /// True once it is `deadline`, which moves as things are sent to a peer that has ended its side.
    pub(super) fn reached(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self
            .half_closed
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// True once the peer has been silent for `time`.
    fn silent(&mut self, cx: &mut Context<'_>, time: Duration) -> bool {
        let peer = self
            .peer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + time)));
        if peer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.peer = None;
        true
    }

    /// The peer is there: the wait for it begins anew.
    fn heard(&mut self) {
        self.peer = None;
    }
}

/// What the task does after looking at the state.
pub(super) enum Next {
    Read,
    Wait,
    Close,
    /// Hand this over, and look again.
    Offer(Box<Request>),
}

impl Conn {
    pub(super) fn new(shared: Arc<Shared>, write: WriteHalf, ends: Ends) -> Arc<Self> {
        let state = State {
            io: Some(write),
            task: None,
            phase: Phase::Reading,
            seq: 0,
            name: 0,
            inbound: Inbound::new(&shared.config),
            out: Output::default(),
            corked: false,
            eof: false,
            half_closed: None,
            held_back: false,
            silent_since: None,
            broken: false,
            failed_content: None,
            paused: false,
            sent_in_callback: false,
            drain: None,
            insisted: false,
            in_a_row: 0,
            channel: None,
        };
        Arc::new(Self {
            shared,
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
        let over = state.broken
            || matches!(
                state.phase,
                Phase::Reading | Phase::Lingering | Phase::Closed
            );
        (state.seq == seq && !over).then_some(state)
    }

    pub(super) fn ends(&self) -> Ends {
        self.ends
    }

    fn unread_time(&self) -> Duration {
        self.shared.config.unread_time
    }

    /// The task of a connection: runs until it is over.
    pub(super) async fn run(self: Arc<Self>, mut read: ReadHalf) {
        let _guard = Guard(&self);
        let mut timers = Timers::default();
        std::future::poll_fn(|cx| self.poll(cx, &mut read, &mut timers)).await;
    }

    fn poll(
        self: &Arc<Self>,
        cx: &mut Context<'_>,
        read: &mut ReadHalf,
        timers: &mut Timers,
    ) -> Poll<()> {
        loop {
            let next = self.lock().turn(self, cx, timers, read);
            match next {
                Next::Read => {}
                Next::Wait => return Poll::Pending,
                Next::Close => return Poll::Ready(()),
                Next::Offer(request) => {
                    self.shared.offer(Work::Request(*request));
                    continue;
                }
            }
            let received = SCRATCH.with_borrow_mut(|scratch| {
                let mut buf = ReadBuf::new(scratch);
                match read.poll_read(cx, &mut buf) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => self.lock().lost(self),
                    Poll::Ready(Ok(())) if buf.filled().is_empty() => self.lock().ended(self),
                    Poll::Ready(Ok(())) => {
                        timers.heard();
                        self.received(buf.filled());
                    }
                }
                Poll::Ready(())
            });
            if received.is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn received(self: &Arc<Self>, fresh: &[u8]) {
        let mut state = self.lock();
        state.silent_since = None;
        match &state.phase {
            Phase::Reading if state.held_back => state.inbound.keep(fresh),
            Phase::Reading => {
                let request = state.next_request(self, fresh);
                drop(state);
                if let Some(request) = request {
                    self.shared.offer(Work::Request(request));
                }
            }
            Phase::Waiting(_) | Phase::Sending(..) | Phase::Streaming(_) => {
                state.inbound.keep(fresh)
            }
            Phase::WebSocket(_) => state.received_frames(self, fresh),
            Phase::Lingering | Phase::Closed => {}
        }
    }
}

/// Reports the connection's end however the task ends: normally, dropped with its loop, or panicking.
struct Guard<'a>(&'a Arc<Conn>);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.0.lock().lost(self.0);
        self.0.shared.forget(self.0);
        if std::thread::panicking() {
            self.0
                .shared
                .notice(Notice::LoopError("a connection's task panicked".into()));
        }
    }
}

impl State {
    /// Flushes, and says what the task does next.
    fn turn(
        &mut self,
        conn: &Arc<Conn>,
        cx: &mut Context<'_>,
        timers: &mut Timers,
        read: &ReadHalf,
    ) -> Next {
        if !self
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            self.task = Some(cx.waker().clone());
        }
        let corked = self.corked && !matches!(self.phase, Phase::Lingering | Phase::Closed);
        if !self.out.is_empty() && (!corked || timers.passed(cx, Wait::Cork)) {
            self.corked = false;
            self.flush_in_loop(cx);
        }
        if !self.corked {
            timers.over(Wait::Cork);
        }
        conn.shared.note_freed(self.out.take_freed());
        if let Some(error) = self.failed_content.take() {
            conn.shared.notice(Notice::File(error.to_string()));
            self.reset(conn);
        }
        if self.broken && self.eof {
            self.lost(conn);
        }
        if self.out.is_empty() {
            timers.unread = None;
        } else if let Some(matters) = self.unread_matters()
            && timers.stalled(cx, conn.unread_time(), matters, || self.taken(conn))
        {
            self.reset(conn);
        }
        if self.held_back && self.out.len() <= MAX_UNREAD_ANSWERS {
            self.held_back = false;
            if matches!(self.phase, Phase::Reading)
                && self.inbound.waiting() > 0
                && let Some(request) = self.next_request(conn, &[])
            {
                return Next::Offer(Box::new(request));
            }
            self.finish_if_all_is_said();
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
        self.mind_the_peer(cx, timers, conn);
        if matches!(self.phase, Phase::Closed) {
            return Next::Close;
        }
        self.paused = self.is_full();
        if !self.paused {
            return Next::Read;
        }
        if read.peer_closed(cx) {
            return Next::Read;
        }
        if timers.passed(cx, Wait::Watch) {
            cx.waker().wake_by_ref();
        }
        Next::Wait
    }

    /// Pings a WebSocket's peer that has been silent for long, if its user asked for that.
    fn mind_the_peer(&mut self, cx: &mut Context<'_>, timers: &mut Timers, conn: &Arc<Conn>) {
        if self.is_user_behind() {
            // We do not read: the silence is ours, not the peer's.
            return timers.heard();
        }
        while let Phase::WebSocket(session) = &self.phase
            && let Some(patience) = session.patience()
            && timers.silent(cx, patience)
        {
            self.tick(conn);
        }
    }

    fn is_closing_websocket(&self) -> bool {
        matches!(&self.phase, Phase::WebSocket(session) if session.is_closing())
    }

    /// Whether the peer must go on taking what waits; `None` where no time limit applies.
    ///
    /// Responses and files: always. What a channel sends is bounded in size, and its user decides how long it
    /// waits, unless a sender insists on room. Time is taken from the start all the same: a sender that begins
    /// to insist would have to wake the loop.
    fn unread_matters(&self) -> Option<bool> {
        match self.phase {
            Phase::Lingering | Phase::Closed => None,
            _ if self.is_closing_websocket() => None,
            Phase::Streaming(_) | Phase::WebSocket(_) => Some(self.out.is_file() || self.insisted),
            _ => (!self.corked).then_some(true),
        }
    }

    /// The peer can answer our close frame only once it has read what was sent before it.
    fn is_close_overdue(&self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) -> bool {
        match self.out.is_empty() {
            true => timers.passed(cx, Wait::CloseFrame),
            false => timers.stalled(cx, UNREAD_CLOSE_TIME, true, || self.taken(conn)),
        }
    }

    /// Grows by what the peer takes. A peer that reads slowly takes much from the kernel before the kernel
    /// takes anything more from us.
    fn taken(&self, conn: &Conn) -> u64 {
        let in_kernel = self
            .io
            .as_ref()
            .map_or(0, |io| (conn.shared.config.unsent)(io.as_fd()));
        self.out.written().wrapping_sub(in_kernel)
    }

    fn is_user_behind(&self) -> bool {
        self.channel
            .as_ref()
            .is_some_and(|channel| channel.is_full())
    }

    fn is_full(&self) -> bool {
        match &self.phase {
            Phase::Reading => self.held_back,
            Phase::Waiting(_) | Phase::Sending(..) | Phase::Streaming(_) => {
                self.inbound.waiting() >= MAX_PIPELINED
            }
            Phase::WebSocket(session) => {
                let replies = session.unread_replies().min(self.out.len());
                replies > MAX_UNREAD_REPLIES || self.is_user_behind()
            }
            _ => false,
        }
    }

    fn linger(&mut self, conn: &Conn, cx: &mut Context<'_>, timers: &mut Timers) -> Next {
        let Some(io) = &self.io else {
            return Next::Close;
        };
        if !self.out.is_empty() {
            if timers.stalled(cx, conn.shared.config.unread_time, true, || {
                self.taken(conn)
            }) {
                return Next::Close;
            }
            // The peer may have to be read before it reads us, unless it has said all it will.
            return if self.eof { Next::Wait } else { Next::Read };
        }
        if self.eof || !self.inbound.is_unfinished() {
            return Next::Close;
        }
        // Closing with unread input would reset the connection, and the peer could lose the answer.
        io.shutdown();
        if timers.passed(cx, Wait::Linger) {
            return Next::Close;
        }
        Next::Read
    }

    fn flush_in_loop(&mut self, cx: &mut Context<'_>) {
        let Some(io) = &self.io else { return };
        let flushed = self.out.flush(|chunk| io.poll_write(cx, &chunk));
        if matches!(flushed, Ok(true)) {
            cx.waker().wake_by_ref();
        }
        self.flushed(flushed);
    }

    /// Writes what waits, as far as the socket takes it; the loop does the rest.
    pub(super) fn flush(&mut self) {
        self.corked = false;
        let Some(io) = &self.io else { return };
        let flushed = self.out.flush(|chunk| io.try_write(&chunk));
        self.flushed(flushed);
        if !self.out.is_empty() {
            self.wake();
        }
    }

    fn flushed(&mut self, flushed: Result<bool, Failure>) {
        match flushed {
            Ok(_) if self.out.is_empty() => {
                self.note_sent();
                self.drained();
            }
            Ok(_) => {}
            Err(Failure::Socket) => self.write_failed(),
            Err(Failure::Content(error)) => {
                self.failed_content = Some(Box::new(error));
                self.write_failed();
            }
        }
    }

    /// Reading tells why, and is where closing is reported; unless the peer had ended its side before.
    fn write_failed(&mut self) {
        // Who waits for these bytes to be written is told when the connection is lost, not now.
        self.out.clear();
        self.broken = true;
        self.wake();
    }

    /// Writes `head` and `body` at once if nothing waits before them; queues what does not go.
    pub(super) fn write(&mut self, head: &[u8], body: &[u8]) {
        if !self.out.is_empty() {
            self.out.push(head);
            self.out.push(body);
            return;
        }
        let slices = [io::IoSlice::new(head), io::IoSlice::new(body)];
        let used = match (head.is_empty(), body.is_empty()) {
            (true, _) => &slices[1..],
            (false, true) => &slices[..1],
            (false, false) => &slices,
        };
        let Some(written) = self.write_now(used) else {
            return;
        };
        if written < head.len() {
            self.out.push(&head[written..]);
            self.out.push(body);
        } else {
            self.out.push(&body[written - head.len()..]);
        }
        if !self.out.is_empty() {
            self.wake();
        }
    }

    /// As [`Self::write`] for what is large, which is not copied if it need not be.
    pub(super) fn write_payload(&mut self, head: &[u8], payload: Payload<'_>, tail: &[u8]) {
        if !self.out.is_empty() {
            return self.queue_payload(head, payload, tail, 0);
        }
        let slices = [head, &payload, tail].map(io::IoSlice::new);
        let Some(written) = self.write_now(&slices) else {
            return;
        };
        self.queue_payload(head, payload, tail, written);
        if !self.out.is_empty() {
            self.wake();
        }
    }

    /// Queues what is behind the first `skip` bytes of these.
    pub(super) fn queue_payload(
        &mut self,
        head: &[u8],
        payload: Payload<'_>,
        tail: &[u8],
        skip: usize,
    ) {
        let (body, behind) = (head.len(), head.len() + payload.len());
        self.out.push(&head[skip.min(body)..]);
        let of_payload = skip.clamp(body, behind) - body;
        if of_payload < payload.len() {
            self.out.push_payload(payload, of_payload);
        }
        self.out.push(&tail[skip.max(behind) - behind..]);
    }

    /// Writes as much as the socket takes at once: nothing while other bytes wait. `None` if that failed.
    pub(super) fn write_now(&mut self, slices: &[io::IoSlice<'_>]) -> Option<usize> {
        let io = self.io.as_ref()?;
        if !self.out.is_empty() {
            return Some(0);
        }
        match io.try_write(&Chunk::Bytes(slices)) {
            Ok(written) => {
                self.out.note_written(written);
                Some(written)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => {
                self.write_failed();
                None
            }
        }
    }

    /// Leaves bytes to be gathered with what follows, for at most [`CORK_TIME`].
    pub(super) fn cork(&mut self) {
        if !self.corked {
            self.corked = true;
            self.wake();
        }
    }

    pub(super) fn wake(&mut self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// Lets the loop read again if it had stopped.
    pub(super) fn resume_reading(&mut self) {
        if self.paused && !self.is_full() {
            self.paused = false;
            self.wake();
        }
    }

    /// The peer ended its side.
    fn ended(&mut self, conn: &Arc<Conn>) {
        self.eof = true;
        let held = self.channel.as_ref().is_some_and(|channel| channel.held);
        match self.phase {
            // It may only have said all it wants to say: it still gets its answer.
            Phase::Waiting(_) | Phase::Sending(..) | Phase::Streaming(_) if !held => {
                self.half_close(conn);
            }
            Phase::Reading if self.held_back => self.half_close(conn),
            Phase::Reading if !self.out.is_empty() => self.finish_connection(),
            Phase::Lingering if !self.out.is_empty() => {}
            Phase::Waiting(_) | Phase::Streaming(_) => self.leave(conn),
            _ => self.lost(conn),
        }
    }

    /// The user of a channel hears that the peer has ended its side; it may still read what was sent
    /// to it, such as the answers before.
    pub(super) fn leave(&mut self, conn: &Arc<Conn>) {
        self.finish_connection();
        // Who waits for room must see that the channel is over, whether or not the peer reads on.
        self.drained();
        self.report(conn, Event::Closed(-1, String::new()));
    }

    /// The connection is over; whoever holds the exchange is told.
    pub(super) fn lost(&mut self, conn: &Arc<Conn>) {
        let closed = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => return,
            Phase::Reading | Phase::Lingering => None,
            Phase::Waiting(_) | Phase::Sending(..) | Phase::Streaming(_) => {
                Some(Event::Closed(-1, String::new()))
            }
            Phase::WebSocket(session) => session.lost(),
        };
        self.release();
        conn.shared.note_freed(self.out.take_freed());
        if let Some(event) = closed {
            self.report(conn, event);
        }
    }

    /// Gives the socket and the buffers up.
    fn release(&mut self) {
        if let Some(io) = self.io.take() {
            io.release();
        }
        self.out.clear();
        self.half_closed = None;
        self.drained();
        self.inbound.clear();
        self.wake();
        self.task = None;
    }

    /// The last bytes are written or queued: after them the connection ends.
    pub(super) fn finish_connection(&mut self) {
        self.phase = Phase::Lingering;
        self.half_closed = None;
        self.flush();
        self.wake();
    }

    /// Whether user code has yet to respond, in part or altogether.
    pub(super) fn is_unanswered(&self) -> bool {
        matches!(
            self.phase,
            Phase::Waiting(_) | Phase::Sending(..) | Phase::Streaming(_)
        )
    }

    /// Ends a connection whose peer has ended its side, once no whole request waits any more.
    pub(super) fn finish_if_all_is_said(&mut self) {
        if self.eof && !self.held_back && matches!(self.phase, Phase::Reading) {
            self.finish_connection();
        }
    }

    /// Cuts the connection with a reset, so that a peer in the middle of an answer sees it as broken.
    pub(super) fn reset(&mut self, conn: &Arc<Conn>) {
        if let Some(io) = &self.io {
            io.reset_on_close();
        }
        self.wake();
        self.lost(conn);
    }

    pub(super) fn exchange(&self, conn: &Arc<Conn>) -> Exchange {
        Exchange {
            conn: conn.clone(),
            seq: self.seq,
        }
    }
}
