//! Peers that have ended their side while a response is still due.
//!
//! Such a peer may have said all that it wants to say and wait for its response, or it may be gone: TCP shows
//! the difference only when something is sent. So it keeps its socket until the response is made, but within
//! bounds: for at most `Config::half_close_time` without anything being sent, and only the newest
//! `Config::max_half_closed` of them, fewer if descriptors run out.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::task::Context;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};
use tokio::time::Instant;

use super::connection::{Conn, Next, State, Timers};
use super::exchange::Event;
use super::{Deferred, Shared};

/// How long a peer that has ended its side keeps its socket while nothing is sent, unless the embedder says
/// otherwise. A peer that is there has seldom asked for something that takes longer.
pub const HALF_CLOSE_TIME: Duration = Duration::from_secs(10);

/// Of as many descriptors as the process may have, half-closed connections may take one ...
const SHARE: u64 = 8;
/// ... and no more than this.
const MOST: u64 = 256;
/// When descriptors have run out, this many connections are closed at once: user code needs some as well.
const ROOM: usize = 8;

/// How many half-closed connections a server keeps by default: 256, or an eighth of the descriptors that the
/// process may open if that is less.
pub fn max_half_closed() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    (descriptors / SHARE).min(MOST) as usize
}

/// The half-closed connections of a server, the oldest first.
#[derive(Debug, Default)]
pub(super) struct HalfClosed {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    last: u64,
    conns: BTreeMap<u64, Weak<Conn>>,
}

/// One half-closed connection and its number; it counts until this is dropped.
#[derive(Debug)]
pub(crate) struct Oldest(Arc<Conn>, u64);

impl Oldest {
    /// Ends the connection, unless it has got its response meanwhile. Takes the connection's lock.
    pub(super) fn give_up(self) {
        let Self(conn, number) = self;
        let mut state = conn.lock();
        if state
            .half_closed
            .as_ref()
            .is_some_and(|ticket| ticket.number == number)
        {
            state.lost(&conn);
        }
    }
}

impl HalfClosed {
    fn admit(&self, conn: &Arc<Conn>) -> u64 {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let number = inner.last;
        inner.conns.insert(number, Arc::downgrade(conn));
        number
    }

    /// Takes the oldest out if there are more than `most`.
    fn excess(&self, most: usize) -> Option<Oldest> {
        let mut inner = self.inner.lock();
        if inner.conns.len() <= most {
            return None;
        }
        inner.take_oldest()
    }

    /// Descriptors have run out: closes some connections, the oldest first. False if there are none.
    pub(super) fn make_room(&self) -> bool {
        let oldest: Vec<_> = {
            let mut inner = self.inner.lock();
            std::iter::from_fn(|| inner.take_oldest())
                .take(ROOM)
                .collect()
        };
        let made = !oldest.is_empty();
        oldest.into_iter().for_each(Oldest::give_up);
        made
    }
}

impl Inner {
    fn take_oldest(&mut self) -> Option<Oldest> {
        loop {
            let (number, conn) = self.conns.pop_first()?;
            if let Some(conn) = conn.upgrade() {
                return Some(Oldest(conn, number));
            }
        }
    }
}

/// A connection's place among the half-closed ones.
#[derive(Debug)]
pub(super) struct Ticket {
    shared: Arc<Shared>,
    number: u64,
    /// When something was last sent, or the peer ended its side.
    since: Instant,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared
            .half_closed
            .inner
            .lock()
            .conns
            .remove(&self.number);
    }
}

impl State {
    /// The peer has ended its side and is still owed a response.
    pub(super) fn half_close(&mut self, conn: &Arc<Conn>) {
        let shared = &conn.shared;
        self.half_closed = Some(Box::new(Ticket {
            shared: shared.clone(),
            number: shared.half_closed.admit(conn),
            since: Instant::now(),
        }));
        if let Some(oldest) = shared.half_closed.excess(shared.config.max_half_closed) {
            // Not here: that takes another connection's lock.
            shared.defer(Deferred::GiveUp(oldest));
        }
        self.tell_half_close(conn);
    }

    /// Tells an embedder that wants to know of it that the peer of the current request has ended its side.
    pub(super) fn tell_half_close(&mut self, conn: &Arc<Conn>) {
        if conn.shared.config.tell_half_close && self.is_unanswered() {
            self.report(conn, Event::HalfClosed);
        }
    }

    /// Something was sent: a peer that has ended its side and is there has a reason to stay.
    pub(super) fn note_sent(&mut self) {
        if let Some(ticket) = &mut self.half_closed {
            ticket.since = Instant::now();
        }
    }

    /// What the task does after the peer's end: there is nothing left to be read, and the response under way
    /// notices if the peer is gone altogether.
    pub(super) fn await_response(
        &mut self,
        conn: &Arc<Conn>,
        cx: &mut Context<'_>,
        timers: &mut Timers,
    ) -> Next {
        if let Some(ticket) = &self.half_closed
            && self.out.is_empty()
            && timers.reached(cx, ticket.since + conn.shared.config.half_close_time)
        {
            self.lost(conn);
            return Next::Close;
        }
        Next::Wait
    }
}
