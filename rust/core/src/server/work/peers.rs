//! What the queues of one server have to do with each other: the room that all share, and help for a team whose own
//! threads are all occupied.
//!
//! # Calls
//!
//! A team *calls* from the moment when it has queued work and no thread of its own to wake, until its queue is empty.
//! An idle thread of another team that is woken for it, or comes by on its way to its next work, takes the oldest work
//! of those that call. Threads that are short of nothing touch no queue but their own: what all teams write at every
//! request, all processors wait for.
//!
//! A thread that parks and a team that calls may miss each other, as each has a lock of its own. So the thread first
//! says that it is parked and then looks for calls, and the team first says that it calls and then looks for parked
//! threads: these are `SeqCst`.
//!
//! # Room
//!
//! The limit on queued work is the server's. A team claims some room of it at a time, so it seldom writes what others
//! read, and returns what it has too much of. Before it refuses work it takes what the others have claimed and do not
//! use: work is refused only if the server is full.
//!
//! No thread holds the locks of two queues.

use std::sync::Arc;

use super::board::{Board, Seat};
use super::inner::Inner;
use super::parked::Parked;
use crate::sync::{Mutex, MutexGuard};

/// All queues of a server, as one of them sees them.
#[derive(Debug)]
pub(super) struct Peers<T> {
    board: Arc<Board>,
    queues: Arc<[Arc<Mutex<Inner<T>>>]>,
    own: usize,
}

impl<T> Peers<T> {
    /// Those of as many `teams`, with `room` together; of each.
    pub(super) fn of(
        teams: usize,
        room: usize,
        inner: impl Fn(Seat) -> Inner<T>,
    ) -> impl Iterator<Item = Self> {
        let board = Arc::new(Board::new(teams, room));
        let queues: Arc<[_]> = (0..teams)
            .map(|team| Arc::new(Mutex::new(inner(board.seat(team)))))
            .collect();
        (0..teams).map(move |own| Self {
            board: board.clone(),
            queues: queues.clone(),
            own,
        })
    }

    pub(super) fn own(&self) -> &Arc<Mutex<Inner<T>>> {
        &self.queues[self.own]
    }

    fn others(&self) -> impl Iterator<Item = &Mutex<Inner<T>>> {
        let (after, before) = (&self.queues[self.own + 1..], &self.queues[..self.own]);
        after.iter().chain(before).map(|queue| &**queue)
    }

    pub(super) fn are_none(&self) -> bool {
        self.board.is_alone()
    }

    pub(super) fn are_calling(&self) -> bool {
        self.board.is_called()
    }

    /// Takes the oldest work of another team that calls, or of any other if `uncalled`.
    pub(super) fn steal(&self, uncalled: bool) -> Option<T> {
        let oldest = |inner: &Inner<T>| match uncalled || inner.seat.calls() {
            true => inner.oldest(),
            false => None,
        };
        loop {
            let calling = self.others().filter_map(|queue| {
                let since = oldest(&queue.lock())?;
                Some((since, queue))
            });
            let (_, queue) = calling.min_by_key(|(since, _)| *since)?;
            let mut inner = queue.lock();
            // Otherwise another thread has taken it meanwhile.
            if oldest(&inner).is_some() {
                let work = inner.pop();
                let still_calls = inner.seat.calls();
                drop(inner);
                if still_calls {
                    self.wake_parked();
                }
                return work;
            }
        }
    }

    /// Wakes a parked thread of any team, for one that calls. Whether there is one.
    pub(super) fn wake_parked(&self) -> bool {
        // Its own last: those have come to be parked since it called.
        let count = self.queues.len();
        let mut teams = (1..=count).map(|i| (self.own + i) % count);
        teams
            .any(|team| self.board.has_parked(team) && wake(&self.queues[team], Inner::pick_parked))
    }

    /// Wakes up to `most` threads that run loops of other teams, one of each.
    pub(super) fn wake_leading(&self, most: usize) {
        let leading = |queue: &&_| wake(queue, Inner::pick_leading);
        self.others().filter(leading).take(most).for_each(drop);
    }

    /// Claims room for this team, which has none: what another has claimed and does not use, if none is left.
    pub(super) fn claim_room<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<T>>,
    ) -> MutexGuard<'a, Inner<T>> {
        inner.crew.room = self.board.claim();
        if inner.crew.room > 0 || self.are_none() {
            return inner;
        }
        drop(inner);
        // One thread at a time: meanwhile, another would find room nowhere that is on its way from team to team.
        let _moving = self.board.moving.lock();
        let mut inner = self.own().lock();
        if inner.crew.room == 0 {
            drop(inner);
            let mut unused = self.others().map(|queue| queue.lock().give_room());
            let room = unused.find(|room| *room > 0);
            inner = self.own().lock();
            inner.crew.room += room.unwrap_or_else(|| self.board.claim());
        }
        inner
    }
}

/// Whether there is such a thread. It is woken without the lock.
fn wake<T>(
    queue: &Mutex<Inner<T>>,
    pick: impl FnOnce(&mut Inner<T>) -> Option<Arc<Parked>>,
) -> bool {
    let thread = pick(&mut queue.lock());
    if let Some(thread) = &thread {
        thread.wake();
    }
    thread.is_some()
}
