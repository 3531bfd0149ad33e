//! Where an idle connection waits for its next call.
//!
//! Its task rests meanwhile, and the connection itself is in the seat. So the thread that has a call can take it out,
//! write the request, and put it back with the call, without waking the task: the response does that.

use super::call::Call;
use super::connect::Conn;
use super::permit::{Permit, SharedPool};
use super::pool::Ticket;
use super::spec::Upload;
use parking_lot::Mutex;
use std::future::poll_fn;
use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// The seat of an idle connection, shared by its task, the pool, and the thread that serves a call with it.
///
/// Its lock is held for a few instructions, and never for a system call: a caller that loses its processor must not
/// stop the loop.
pub(super) struct Seat {
    expiry: Instant,
    state: Mutex<State>,
}

/// The order of the fields matters: the connection closes before its call is reported.
#[derive(Default)]
struct State {
    /// The connection of a resting task, unless a claim has it.
    conn: Option<Box<Conn>>,
    phase: Phase,
    /// Wakes the resting task.
    task: Option<Waker>,
}

#[derive(Default)]
enum Phase {
    /// The task rests; or it is running, and looks here again before it rests.
    #[default]
    Open,
    /// A claim has the connection. `missed`: its task was woken meanwhile, and has to be woken again.
    Claimed {
        missed: bool,
    },
    Given(Handed),
    Closed,
}

/// A call for a connection.
pub(super) struct Handed {
    pub call: Call,
    /// What its caller has written of the request.
    pub sent: Option<Sent>,
}

/// What a parked connection gets: a call, and itself unless it is lost; nothing was written to it then.
pub(super) type Woken = (Result<Box<Conn>, Permit>, Handed);

/// The beginning of a request, already written.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub bytes: usize,
    pub at: Instant,
}

impl Seat {
    /// Any thread: serves a call with the connection, which was idle and is no longer in the pool. Gives the call back
    /// if the connection is lost; nothing of the request was written then.
    pub(super) fn serve(self: &Arc<Self>, call: Call) -> Result<(), Call> {
        match (call.spec.upload == Upload::Whole).then(|| self.claim()) {
            Some(Some(claim)) => claim.write(call),
            _ => self.give(call),
        }
    }

    /// Likewise, but leaves the writing to the task.
    pub(super) fn give(&self, call: Call) -> Result<(), Call> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Open => state.phase = Phase::Given(Handed { call, sent: None }),
            _ => return Err(call),
        }
        let task = state.resting();
        drop(state);
        wake(task);
        Ok(())
    }

    /// Closes the connection, unless it has a call.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Open) {
            state.phase = Phase::Closed;
            let task = state.resting();
            drop(state);
            wake(task);
        }
    }

    /// Takes the connection out, if other threads may write to it and its task rests.
    fn claim(self: &Arc<Self>) -> Option<Claim> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Open) {
            return None;
        }
        let conn = state.conn.take_if(|conn| conn.socket().is_some())?;
        state.phase = Phase::Claimed { missed: false };
        Some(Claim {
            seat: self.clone(),
            conn: Some(conn),
        })
    }
}

impl State {
    /// The waker, if the task rests; else it looks here again anyway.
    fn resting(&mut self) -> Option<Waker> {
        match self.conn {
            Some(_) => self.task.take(),
            None => None,
        }
    }
}

fn wake(task: Option<Waker>) {
    if let Some(task) = task {
        task.wake();
    }
}

/// A connection taken out of its seat. Without a call, it is closed.
struct Claim {
    seat: Arc<Seat>,
    conn: Option<Box<Conn>>,
}

impl Claim {
    /// Writes the request as far as the socket accepts it now, and hands the call over.
    fn write(mut self, call: Call) -> Result<(), Call> {
        let Some((conn, bytes)) = self.try_write(&call) else {
            return Err(call);
        };
        let at = Instant::now();
        // A resting task moves no timer. It need not, if that wakes it before the call's first limit.
        let limit = call.idle_limit(Some(at)).map(|limit| limit.at);
        let first = limit.into_iter().chain(call.look_after(at)).min();
        let in_time = first.is_none_or(|first| first >= conn.timer.deadline());
        let whole = bytes > 0 && bytes == call.spec.head.len() + call.spec.body.len();
        let sent = (bytes > 0).then_some(Sent { bytes, at });
        self.put_back(Phase::Given(Handed { call, sent }), !(whole && in_time));
        Ok(())
    }

    /// The connection, and how many bytes it accepted; `None` if it is lost.
    fn try_write(&self, call: &Call) -> Option<(&Conn, usize)> {
        let kept = Instant::now() < self.seat.expiry;
        let conn = self.conn.as_deref().filter(|_| kept)?;
        let socket = conn.socket().filter(|socket| socket.is_silent())?;
        let written = socket.try_write(&call.spec.head, &call.spec.body);
        Some((conn, written.ok()?))
    }

    fn put_back(&mut self, phase: Phase, wakes: bool) {
        let mut state = self.seat.state.lock();
        let missed = matches!(state.phase, Phase::Claimed { missed: true });
        let mut task = state.task.take();
        if let (false, Phase::Given(handed)) = (wakes || missed, &phase) {
            task = task.and_then(|task| handed.call.control.adopt(task));
        }
        state.conn = self.conn.take();
        state.phase = phase;
        drop(state);
        wake(task);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.conn.is_some() {
            self.put_back(Phase::Closed, true);
        }
    }
}

/// An idle connection, as its task holds it.
pub(super) struct Parked {
    seat: Arc<Seat>,
    pool: Arc<SharedPool>,
    ticket: Ticket,
    /// The connection, while the task is running.
    conn: Option<Box<Conn>>,
}

impl Parked {
    pub(super) fn new(pool: Arc<SharedPool>, conn: Box<Conn>, expiry: Instant) -> Self {
        let seat = Arc::new(Seat {
            expiry,
            state: Mutex::default(),
        });
        let ticket = pool.with(|pool| pool.park(conn.key.clone(), expiry, seat.clone()));
        Self {
            seat,
            pool,
            ticket,
            conn: Some(conn),
        }
    }

    /// `None` if the connection is to close. Does `first` when the connection is in its seat.
    pub(super) async fn wait(mut self, first: impl FnOnce()) -> Option<Woken> {
        let mut first = Some(first);
        let next = poll_fn(|cx| {
            let next = self.poll(cx);
            if let Some(first) = first.take() {
                first();
            }
            next
        })
        .await;
        if let (None, Some(conn)) = (&next, &self.conn) {
            self.pool.with(|pool| pool.leave(&conn.key, &self.ticket));
        }
        next
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Woken>> {
        let mut found = self.enter();
        // What has come since its request was written is the response, and not to be read here.
        let begun = match &found {
            Phase::Claimed { .. } => return Poll::Pending,
            Phase::Given(next) => next.sent.is_some(),
            _ => false,
        };
        let alive = begun || self.alive(cx);
        if matches!(found, Phase::Open) {
            found = self.rest(cx, alive);
        }
        match found {
            Phase::Open | Phase::Claimed { .. } => Poll::Pending,
            Phase::Closed => Poll::Ready(None),
            Phase::Given(next) => {
                let conn = self.conn.take();
                Poll::Ready(conn.map(|conn| (conn.unless(!alive), next)))
            }
        }
    }

    /// Takes the connection, and the call if there is one.
    fn enter(&mut self) -> Phase {
        let mut state = self.seat.state.lock();
        if let Phase::Claimed { missed } = &mut state.phase {
            *missed = true;
            return Phase::Claimed { missed: true };
        }
        if let Some(conn) = state.conn.take() {
            self.conn = Some(conn);
        }
        match state.phase {
            Phase::Open => Phase::Open,
            _ => mem::replace(&mut state.phase, Phase::Closed),
        }
    }

    /// Whether the peer is silent, and the connection has not expired. This also has both wake the task.
    fn alive(&mut self, cx: &mut Context<'_>) -> bool {
        let expiry = self.seat.expiry;
        self.conn
            .as_mut()
            .is_some_and(|conn| !conn.spoke(cx) && conn.timer.poll_until(cx, expiry).is_pending())
    }

    /// Leaves the connection in the seat, unless it has to close, or something has happened there meanwhile.
    fn rest(&mut self, cx: &Context<'_>, alive: bool) -> Phase {
        let mut state = self.seat.state.lock();
        if !matches!(state.phase, Phase::Open) || !alive {
            return match mem::replace(&mut state.phase, Phase::Closed) {
                Phase::Open => Phase::Closed,
                found => found,
            };
        }
        state.conn = self.conn.take();
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Phase::Open
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let empty = State {
            phase: Phase::Closed,
            ..State::default()
        };
        // Not under the lock: a connection that closes tells the pool, and a call its caller.
        let left = mem::replace(&mut *self.seat.state.lock(), empty);
        drop(left);
    }
}

#[cfg(test)]
#[path = "seat_tests.rs"]
mod tests;
