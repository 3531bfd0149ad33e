//! Queued work, and the threads that take it.
//!
//! Threads either *pull* ([`WorkQueue::take`] blocks until there is work) or get batches *pushed* by the loop once per
//! turn ([`WorkQueue::drain`]). A thread that finds nothing to pull runs a loop itself if it can (`leader`), else it is
//! parked. Wake-ups are chained: a push wakes at most one parked thread, and a woken thread wakes the next only when it
//! leaves work behind. Waking a thread costs more than parsing a request. The thread that parked last is woken first,
//! so that in a pool that has grown, only the threads that are needed work, and their caches stay warm.
//!
//! On a large machine a server has several, one for each team of loops and threads ([`super::team`]). What they have to
//! do with each other is in [`super::peers`].

use std::sync::Arc;
use std::time::Duration;

use super::inner::{Inner, Pushed};
use super::leader::{Leadership, Loops};
use super::parked::Parked;
use super::peers::Peers;
use super::place::{PLACE, Place};
use super::pressure::{CHECK_EVERY, Pressure};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, Mutex, MutexGuard, thread};

/// How a queue's work reaches threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Threads pull it. Work that they cannot take in time is reported to [`Sink::on_starved`](crate::server::Sink),
    /// which may start threads or have it pushed by [`Server::push_surplus`](crate::server::Server::push_surplus).
    Pull,
    /// The loop hands everything to [`Sink::on_work`](crate::server::Sink) at the end of each turn.
    Push,
}

/// Shortest time after which a parked thread that is kept checks again whether it still is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A queue's settings.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Settings {
    pub(in crate::server) mode: Mode,
    /// Items that may be queued, besides those that free threads will take.
    pub(in crate::server) limit: usize,
    /// Threads that pull, at most.
    pub(in crate::server) threads: usize,
    /// Threads that stay while idle, and how long the others do.
    pub(in crate::server) kept: usize,
    pub(in crate::server) keep_alive: Duration,
}

impl Settings {
    /// The room for queued work and for what threads have taken, however many teams share it.
    fn room(&self) -> usize {
        self.limit.saturating_add(self.threads)
    }

    /// Those of one of as many `teams`.
    pub(super) fn share(self, team: usize, teams: usize) -> Self {
        Self {
            kept: self.kept / teams + usize::from(team < self.kept % teams),
            ..self
        }
    }
}

/// A bounded queue; see the module docs.
#[derive(Debug)]
pub(in crate::server) struct WorkQueue<T> {
    pub(super) inner: Arc<Mutex<Inner<T>>>,
    pub(super) peers: Peers<T>,
    settings: Settings,
    /// This team's share of them.
    processors: usize,
    /// Written under the lock; read without it, for each pipelined request.
    shut: AtomicBool,
}

/// Cleans up after a leader whose loop panics.
pub(super) struct Fallen<'a, T> {
    queue: &'a WorkQueue<T>,
    this: &'a Arc<Parked>,
}

impl<T> Drop for Fallen<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.queue.inner.lock();
        let here = |other: &Arc<Parked>| Arc::ptr_eq(self.this, other);
        if let Some(at) = inner.leading.iter().position(here) {
            inner.leading.swap_remove(at);
            inner.crew.awake += 1;
        }
        self.this.reset();
        self.queue.wake_next(inner);
    }
}

impl<T> WorkQueue<T> {
    /// Wakes one thread if there is work, unless one is already being woken.
    fn wake_next(&self, mut inner: MutexGuard<'_, Inner<T>>) {
        let woken_here = Parked::is_this_woken(inner.address());
        let pushed = self.settings.mode == Mode::Push; // no thread takes it
        if inner.waking || inner.items.is_empty() || woken_here || pushed {
            return;
        }
        let thread = inner.pick();
        if thread.is_none() {
            inner.seat.call();
        }
        let calls = inner.seat.calls();
        drop(inner);
        match thread {
            Some(thread) => thread.wake(),
            None if calls => drop(self.peers.wake_parked()),
            None => {}
        }
    }

    /// Runs a loop until it brings work, or this thread is woken.
    fn run_loop(&self, inner: MutexGuard<'_, Inner<T>>, lead: &Leadership) {
        let this = Parked::this();
        let fallen = self.begin_leading(inner, &this);
        lead.run(this.woken());
        // The thread that woke this one has taken it off the list and counted it.
        std::mem::forget(fallen);
    }

    pub(super) fn begin_leading<'a>(
        &'a self,
        mut inner: MutexGuard<'_, Inner<T>>,
        this: &'a Arc<Parked>,
    ) -> Fallen<'a, T> {
        Parked::begin_leading(inner.address());
        inner.crew.awake -= 1;
        inner.leading.push(this.clone());
        Fallen { queue: self, this }
    }
}

impl<T: Send + 'static> WorkQueue<T> {
    /// One queue for each of as many `teams`. Together they hold as many items as `settings` allow, plus one for each
    /// free thread. Close events are never refused.
    pub(super) fn of(teams: usize, settings: Settings) -> impl Iterator<Item = Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let inner = move |seat| Inner::new(seat, settings.threads);
        let peers = Peers::of(teams, settings.room(), inner);
        peers.enumerate().map(move |(team, peers)| Self {
            inner: peers.own().clone(),
            peers,
            settings: settings.share(team, teams),
            processors: processors.div_ceil(teams),
            shut: AtomicBool::new(false),
        })
    }

    /// Adds work; returns it if the queue is full or shut.
    pub(in crate::server) fn push(&self, since: Instant, work: T) -> Result<Pushed, T> {
        let mut inner = self.inner.lock();
        if inner.crew.room == 0 && !self.is_shut() {
            inner = self.peers.claim_room(inner);
        }
        if inner.crew.room == 0 || self.is_shut() {
            return Err(work);
        }
        let pushed = inner.add(since, work);
        self.wake_next(inner);
        Ok(pushed)
    }

    /// The next item. Until there is one, this thread is parked or runs a loop. `None` once the queue is shut and
    /// empty, or when this thread is one too many.
    pub(in crate::server) fn take(&self, loops: &Loops) -> Option<T> {
        PLACE.with(|place| {
            let place = &mut *place.borrow_mut();
            let mut inner = place.enter(&self.inner);
            let Inner { seat, crew, .. } = &mut *inner;
            seat.share_room(&mut crew.room);
            if let Some(since) = place.since.take() {
                loops.note_worked(since.elapsed());
            }
            let work = self.next(inner, loops, place);
            match work {
                Some(_) => place.busy = true,
                None => *place = Place::none(),
            }
            work
        })
    }

    fn next<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<T>>,
        loops: &Loops,
        place: &mut Place,
    ) -> Option<T> {
        let (mut yielded, mut looked) = (false, false);
        loop {
            if let Some(work) = inner.pop() {
                let watched = loops.watched();
                inner.begin(watched, place);
                // A leader finishes a few short items before another thread has woken up. It may keep them to itself
                // only while a loop stands still: no worker leads that loop before all work is taken, and if that takes
                // long, the loop's own thread wakes others.
                if inner.leading.len() >= watched || inner.is_behind() {
                    self.wake_next(inner);
                }
                return Some(work);
            }
            let shut = self.is_shut();
            if !looked && (shut || self.peers.are_calling()) {
                looked = true;
                drop(inner);
                // Nothing is to be left behind once the queues are shut.
                let stolen = self.peers.steal(shut);
                inner = self.inner.lock();
                if stolen.is_some() {
                    inner.begin(loops.watched(), place);
                    return stolen;
                }
                continue;
            }
            if shut {
                return None;
            }
            if let Some(lead) = loops.try_lead() {
                self.run_loop(inner, &lead);
                drop(lead);
                inner = self.inner.lock();
                looked = false;
                continue;
            }
            if !yielded && inner.crew.awake <= self.processors {
                // The loop is often about to push, and yielding once is cheaper than being parked and woken. Not when
                // more of us are awake than there are processors: yielding to each other, all would keep sharing work
                // for a few.
                yielded = true;
                drop(inner);
                thread::yield_now();
                inner = self.inner.lock();
                continue;
            }
            inner = self.park(inner, place)?;
            inner.waking = false;
            looked = false;
        }
    }

    /// Parks until woken; `None` after `keep_alive` if this thread is not one to keep.
    fn park<'a>(
        &'a self,
        mut inner: MutexGuard<'a, Inner<T>>,
        place: &mut Place,
    ) -> Option<MutexGuard<'a, Inner<T>>> {
        let since = Instant::now();
        let this = Parked::this();
        inner.crew.awake -= 1;
        inner.parked.push(this.clone());
        inner.seat.note_parked(inner.parked.len());
        if self.peers.are_calling() {
            inner.unpark_this();
            inner.crew.awake += 1;
            return Some(inner);
        }
        loop {
            let left = self.settings.keep_alive.saturating_sub(since.elapsed());
            let superfluous = inner.crew.threads > self.settings.kept;
            // If it is off the list, it has been woken for work and must take it.
            if superfluous && left.is_zero() && inner.unpark_this() {
                // Under this lock: another thread that is idle for as long must see that it is no longer one too many.
                place.leave(&mut inner.crew);
                return None;
            }
            drop(inner);
            // A kept thread checks again now and then: there may be more threads by now, and one that runs a loop does
            // not leave in its place.
            thread::park_timeout(match superfluous {
                true => left,
                false => self.settings.keep_alive.max(LOOK_AGAIN),
            });
            // Before the lock. A left-over `unpark` token, from when this thread ran a loop for example, costs one more
            // pass here and nothing else.
            let woken = this.has_been_woken();
            inner = self.inner.lock();
            if woken {
                return Some(inner);
            }
        }
    }

    /// Wakes a thread if work is queued and none is being woken.
    pub(in crate::server) fn wake_for_work(&self) {
        self.wake_next(self.inner.lock());
    }

    /// Work that is still queued needs help: wakes up to `most` parked threads of other teams for it. Returns how many.
    pub(in crate::server) fn wake_parked_others(&self, most: usize) -> usize {
        let mut inner = self.inner.lock();
        if inner.items.is_empty() {
            return 0;
        }
        inner.seat.call();
        inner.needs_help = true;
        drop(inner);
        (0..most).take_while(|_| self.peers.wake_parked()).count()
    }

    /// If work is still queued, wakes up to `most` threads that run loops of other teams.
    pub(in crate::server) fn wake_leading_others(&self, most: usize) {
        let calls = self.inner.lock().seat.calls();
        if calls {
            self.peers.wake_leading(most);
        }
    }

    /// Wakes a parked thread that may run a loop, even if another is being woken for work: that one would leave the
    /// loop standing still while it runs its handler.
    pub(in crate::server) fn wake_for_loop(&self) {
        let mut inner = self.inner.lock();
        let thread = inner.pick_parked();
        drop(inner);
        if let Some(thread) = thread {
            thread.wake();
        }
    }

    /// Takes all queued items but one for a thread that has been woken, unless that is late. Of several teams, only those
    /// that need help give theirs.
    pub(super) fn drain_surplus(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        if !(self.peers.are_none() || inner.needs_help || self.is_shut()) {
            return Vec::new();
        }
        let in_time = |since: Instant| since.elapsed() < CHECK_EVERY;
        let kept = inner.waking && !self.is_shut() && inner.oldest().is_some_and(in_time);
        let surplus = inner.items.len().saturating_sub(usize::from(kept));
        inner.drain(surplus)
    }

    /// Takes all queued items.
    pub(in crate::server) fn drain(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        let all = inner.len();
        inner.drain(all)
    }

    /// Refuses all further work.
    pub(super) fn shut(&self) {
        let _inner = self.inner.lock();
        self.shut.store(true, Ordering::Release);
    }

    /// Once all queues are shut: wakes all threads, which end when these are empty.
    pub(super) fn wake_all(&self) {
        let mut inner = self.inner.lock();
        let threads: Vec<_> = std::iter::from_fn(|| inner.pick()).collect();
        drop(inner);
        for thread in threads {
            thread.wake();
        }
    }

    pub(in crate::server) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// How many items are queued, since when the oldest, and how many threads take them.
    pub(super) fn load(&self) -> (usize, Option<Instant>, usize) {
        let inner = self.inner.lock();
        (inner.len(), inner.oldest(), inner.crew.threads)
    }

    /// Whether this thread is one of those that take its items.
    pub(super) fn has_joined(&self) -> bool {
        PLACE.with(|place| place.borrow().is_in(&self.inner))
    }

    /// The pressure, if anything is queued. `dated`: the loops' own threads run all loops, so `last_taken` is current
    /// (see `next`); an older time would make threads look stuck that have just taken work.
    pub(in crate::server) fn pressure(&self, dated: bool) -> Option<Pressure> {
        let inner = self.inner.lock();
        let oldest = inner.items.front()?;
        let now = Instant::now();
        let coming = usize::from(inner.waking);
        let waiting = inner.items.len().saturating_sub(coming);
        let threads = inner.crew.threads;
        Some(Pressure {
            waiting,
            oldest: now.saturating_duration_since(oldest.since),
            overtaken: inner.taken - oldest.before,
            busy: inner.crew.busy,
            // With no thread counted yet, the first ones are starting, not stuck.
            all_busy: threads > 0 && inner.crew.busy >= threads,
            none_free: waiting > 0 && inner.crew.busy > 0 && inner.crew.busy + coming >= threads,
            quiet: match inner.last_taken {
                _ if !dated => Duration::ZERO,
                Some(at) => now.saturating_duration_since(at),
                None => Duration::MAX,
            },
            few: threads < self.processors,
        })
    }
}
