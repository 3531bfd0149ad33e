//! What is under a queue's lock: its work, and where its threads are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::board::Seat;
use super::pace;
use super::parked::Parked;
use super::place::{Crew, Place, Staffed};
use crate::sync::Instant;

/// Backlog (items, age of the oldest) at which a thread that also runs a loop wakes another.
const MANY: usize = 8;
const LONG: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Inner<T> {
    pub(super) seat: Seat,
    pub(super) items: VecDeque<Item<T>>,
    /// Idle threads, in the order in which they parked.
    pub(super) parked: Vec<Arc<Parked>>,
    /// Idle threads that run a loop.
    pub(super) leading: Vec<Arc<Parked>>,
    /// How many threads there are.
    pub(super) crew: Crew,
    /// A parked thread has been woken and none has arrived since. One that runs a loop does not count: its loop may be
    /// delayed, by a slow disk for example, and the others must not wait for that. Any parked thread that arrives
    /// clears it. So it may be false too early, which costs one extra wake-up, but it never stays true.
    pub(super) waking: bool,
    /// The embedder is asked for threads, until nothing is queued.
    pub(super) needs_help: bool,
    /// Items that threads have taken so far.
    pub(super) taken: u64,
    /// When a thread last took one while the loops' own threads ran all loops. At other times handlers are short, and
    /// reading the clock would be a noticeable part of their cost.
    pub(super) last_taken: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) since: Instant,
    /// [`Inner::taken`] when this was queued.
    pub(super) before: u64,
    work: T,
}

/// The outcome of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Pushed {
    /// A parked thread will take it.
    Served,
    /// There is more work than parked threads: the queue should be checked soon (`attend`).
    Starved,
}

impl<T: Send> Staffed for Inner<T> {
    fn crew(&mut self) -> &mut Crew {
        &mut self.crew
    }
}

impl<T> Inner<T> {
    pub(super) fn new(seat: Seat, threads: usize) -> Self {
        Self {
            seat,
            items: VecDeque::new(),
            parked: Vec::new(),
            leading: Vec::new(),
            crew: Crew::of(threads),
            waking: false,
            needs_help: false,
            taken: 0,
            last_taken: None,
        }
    }

    /// Adds work, for which there is room.
    pub(super) fn add(&mut self, since: Instant, work: T) -> Pushed {
        self.crew.room -= 1;
        self.items.push_back(Item {
            since,
            before: self.taken,
            work,
        });
        // The thread being woken counts too, for one item only: its handler may never return.
        let coming = self.parked.len() + usize::from(self.waking) + usize::from(self.is_led_here());
        match self.items.len() <= coming {
            true => Pushed::Served,
            false => Pushed::Starved,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn oldest(&self) -> Option<Instant> {
        self.items.front().map(|item| item.since)
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front();
        self.taken += u64::from(item.is_some());
        self.note_removed();
        item.map(|item| item.work)
    }

    /// Takes the first items for other threads than those that pull.
    pub(super) fn drain(&mut self, count: usize) -> Vec<T> {
        let drained = self.items.drain(..count).map(|item| item.work).collect();
        self.crew.room += count;
        self.note_removed();
        drained
    }

    fn note_removed(&mut self) {
        if self.items.is_empty() {
            self.seat.end_call();
            self.needs_help = false;
        }
    }

    /// Room that this team does not use.
    pub(super) fn give_room(&mut self) -> usize {
        std::mem::take(&mut self.crew.room)
    }

    /// Takes a thread off its list; the caller wakes it without the lock. First choice: this thread, if it runs the
    /// loop that brought the work. Then the one that parked last. Then one that runs another loop.
    pub(super) fn pick(&mut self) -> Option<Arc<Parked>> {
        if let Some(here) = self.leading.iter().position(Parked::is_this) {
            self.crew.awake += 1;
            return Some(self.leading.swap_remove(here));
        }
        self.pick_parked().or_else(|| self.pick_leading())
    }

    pub(super) fn pick_leading(&mut self) -> Option<Arc<Parked>> {
        let thread = self.leading.pop()?;
        self.crew.awake += 1;
        Some(thread)
    }

    pub(super) fn pick_parked(&mut self) -> Option<Arc<Parked>> {
        let thread = self.parked.pop()?;
        self.seat.note_parked(self.parked.len());
        self.waking = true;
        self.crew.awake += 1;
        Some(thread)
    }

    /// Which queue it is.
    pub(super) fn address(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    /// Whether this thread runs a loop for it, and so will look for work when the loop's turn ends.
    pub(super) fn is_led_here(&self) -> bool {
        self.leading.iter().any(Parked::is_this) || Parked::is_this_woken(self.address())
    }

    /// This thread has taken work, while as many loops were watched.
    pub(super) fn begin(&mut self, watched: usize, place: &mut Place) {
        self.crew.begin();
        if watched == 0 {
            self.last_taken = Some(Instant::now());
            place.since = self.last_taken;
        }
        pace::note_taken();
    }

    /// Takes this thread off the parked ones, if it is still there.
    pub(super) fn unpark_this(&mut self) -> bool {
        let at = self.parked.iter().position(Parked::is_this);
        if let Some(at) = at {
            self.parked.remove(at);
            self.seat.note_parked(self.parked.len());
        }
        at.is_some()
    }

    /// Whether the queued work is too much for one thread.
    pub(super) fn is_behind(&self) -> bool {
        self.items.len() >= MANY && self.oldest().is_some_and(|since| since.elapsed() > LONG)
    }
}
