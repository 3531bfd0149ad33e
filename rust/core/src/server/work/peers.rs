//! What the queues of one server have to do with each other: the room that all share, and help for a team whose own
//! threads are all occupied.
//!
//! # Calls
//!
//! A team *calls* from the moment when it has queued work and no thread of its own to wake, until its queue is empty.
//! An idle thread of another team that is woken for it, or comes by on its way to its next work, takes from the fullest
//! queue that calls. Threads that are short of nothing touch no queue but their own: what all teams write at every
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

use super::inner::Inner;
use super::parked::Parked;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Room that a team claims at a time.
const ROOM: usize = 64;

/// What threads of all teams read and write.
#[derive(Debug)]
pub(super) struct Board {
    /// How many threads are parked, for each team. Written under its queue's lock.
    parked: Box<[AtomicUsize]>,
    /// How many teams call.
    calling: AtomicUsize,
    /// Room that no team has claimed.
    room: AtomicUsize,
    /// Held while room goes from team to team; before a queue's lock.
    moving: Mutex<()>,
}

impl Board {
    fn new(teams: usize, room: usize) -> Self {
        Self {
            parked: (0..teams).map(|_| AtomicUsize::new(0)).collect(),
            calling: AtomicUsize::new(0),
            room: AtomicUsize::new(room),
            moving: Mutex::default(),
        }
    }

    fn is_alone(&self) -> bool {
        self.parked.len() == 1
    }

    /// A team that is alone has all room, always.
    fn most_at_once(&self) -> usize {
        match self.is_alone() {
            true => usize::MAX,
            false => ROOM,
        }
    }

    fn claim(&self) -> usize {
        let most = self.most_at_once();
        let left = |room: usize| Some(room.saturating_sub(most));
        let claim = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        claim.map_or(0, |room| room.min(most))
    }
}

/// A team's place on the board.
#[derive(Debug)]
pub(super) struct Seat {
    board: Arc<Board>,
    team: usize,
    calls: bool,
}

impl Seat {
    pub(super) fn calls(&self) -> bool {
        self.calls
    }

    pub(super) fn note_parked(&self, threads: usize) {
        if !self.board.is_alone() {
            self.board.parked[self.team].store(threads, Ordering::SeqCst);
        }
    }

    /// Calls, if there is another team.
    pub(super) fn call(&mut self) {
        if !self.calls && !self.board.is_alone() {
            self.calls = true;
            self.board.calling.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn end_call(&mut self) {
        if std::mem::take(&mut self.calls) {
            self.board.calling.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns room of which this team has too much.
    pub(super) fn share_room(&self, own: &mut usize) {
        if *own > self.board.most_at_once().saturating_mul(2) {
            *own -= ROOM;
            self.board.room.fetch_add(ROOM, Ordering::Relaxed);
        }
    }
}

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
        let seat = |team| Seat {
            board: board.clone(),
            team,
            calls: false,
        };
        let queues: Arc<[_]> = (0..teams)
            .map(|team| Arc::new(Mutex::new(inner(seat(team)))))
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
        self.board.calling.load(Ordering::SeqCst) > 0
    }

    /// Takes from the fullest queue of another team that calls, or has work at all if `uncalled`.
    pub(super) fn steal(&self, uncalled: bool) -> Option<T> {
        let waiting = |queue: &Mutex<Inner<T>>| {
            let inner = queue.lock();
            match uncalled || inner.seat.calls() {
                true => inner.len(),
                false => 0,
            }
        };
        let fullest = self.others().max_by_key(|queue| waiting(queue))?;
        let mut inner = fullest.lock();
        if !(uncalled || inner.seat.calls()) {
            return None;
        }
        let work = inner.pop();
        let still_calls = inner.seat.calls();
        drop(inner);
        if still_calls {
            self.wake_parked();
        }
        work
    }

    /// Wakes a parked thread of any team, for one that calls. Whether there is one.
    pub(super) fn wake_parked(&self) -> bool {
        let mut parked = self.board.parked.iter().zip(&*self.queues);
        parked.any(|(parked, queue)| {
            parked.load(Ordering::SeqCst) > 0 && wake(queue, Inner::pick_parked)
        })
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
