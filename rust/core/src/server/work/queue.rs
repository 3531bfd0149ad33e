//! Queued work, and the threads that take it.
//!
//! Threads either *pull* ([`WorkQueue::take`] blocks until there is work) or get batches *pushed* by the loop once per
//! turn ([`WorkQueue::drain`]). A thread that finds nothing to pull runs a loop itself if it can (`leader`), else it is
//! parked. Wake-ups are chained: a push wakes at most one parked thread, and a woken thread wakes the next only when it
//! leaves work behind. Waking a thread costs more than parsing a request. The thread that parked last is woken first,
//! so that in a pool that has grown, only the threads that are needed work, and their caches stay warm.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::leader::{Leadership, Loops};
use super::pace;
use super::parked::Parked;
use super::place::{Crew, PLACE, Place, Staffed};
use super::pressure::{CHECK_EVERY, Pressure};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Instant, Mutex, MutexGuard, thread};

/// How a queue's work reaches threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Threads pull it. Work that they cannot take in time is reported to [`Sink::on_starved`](crate::server::Sink),
    /// which may start threads or take the work with [`WorkQueue::drain`].
    Pull,
    /// The loop hands everything to [`Sink::on_work`](crate::server::Sink) at the end of each turn.
    Push,
}

/// Backlog (items, age of the oldest) at which a thread that also runs a loop wakes another.
const MANY: usize = 8;
const LONG: Duration = Duration::from_millis(1);
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

/// A bounded queue; see the module docs.
#[derive(Debug)]
pub struct WorkQueue<T> {
    pub(super) inner: Arc<Mutex<Inner<T>>>,
    settings: Settings,
    processors: usize,
    /// Written under the lock; read without it, for each pipelined request.
    shut: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Inner<T> {
    items: VecDeque<Item<T>>,
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
    /// Items that threads have taken so far.
    taken: u64,
    /// When a thread last took one while the loops' own threads ran all loops. At other times handlers are short, and
    /// reading the clock would be a noticeable part of their cost.
    last_taken: Option<Instant>,
}

impl<T> Default for Inner<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            parked: Vec::new(),
            leading: Vec::new(),
            crew: Crew::default(),
            waking: false,
            taken: 0,
            last_taken: None,
        }
    }
}

#[derive(Debug)]
struct Item<T> {
    since: Instant,
    /// [`Inner::taken`] when this was queued.
    before: u64,
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
    /// Takes a thread off its list; the caller wakes it without the lock. First choice: this thread, if it runs the
    /// loop that brought the work. Then the one that parked last. Then one that runs another loop.
    fn pick(&mut self) -> Option<Arc<Parked>> {
        if let Some(here) = self.leading.iter().position(Parked::is_this) {
            self.crew.awake += 1;
            return Some(self.leading.swap_remove(here));
        }
        if let Some(thread) = self.parked.pop() {
            self.note_woken();
            return Some(thread);
        }
        let thread = self.leading.pop()?;
        self.crew.awake += 1;
        Some(thread)
    }

    fn note_woken(&mut self) {
        self.waking = true;
        self.crew.awake += 1;
    }

    /// Whether this thread runs a loop, and so will look for work when the loop's turn ends.
    fn is_led_here(&self) -> bool {
        self.leading.iter().any(Parked::is_this) || Parked::is_this_woken()
    }

    /// Whether the queued work is too much for one thread.
    fn is_behind(&self) -> bool {
        self.items.len() >= MANY
            && self
                .items
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() > LONG)
    }
}

fn add<T>(mut inner: MutexGuard<'_, Inner<T>>, since: Instant, work: T) -> Pushed {
    let before = inner.taken;
    inner.items.push_back(Item {
        since,
        before,
        work,
    });
    // The thread being woken counts too, for one item only: its handler may never return.
    let coming = inner.parked.len() + usize::from(inner.waking) + usize::from(inner.is_led_here());
    let pushed = if inner.items.len() <= coming {
        Pushed::Served
    } else {
        Pushed::Starved
    };
    wake_next(inner);
    pushed
}

/// Wakes one thread if there is work, unless one is already being woken.
fn wake_next<T>(mut inner: MutexGuard<'_, Inner<T>>) {
    if inner.waking || inner.items.is_empty() || Parked::is_this_woken() {
        return;
    }
    let thread = inner.pick();
    drop(inner);
    if let Some(thread) = thread {
        thread.wake();
    }
}

/// Runs a loop until it brings work, or this thread is woken.
fn run_loop<T>(queue: &Mutex<Inner<T>>, inner: MutexGuard<'_, Inner<T>>, lead: &Leadership) {
    let this = Parked::this();
    let fallen = begin_leading(queue, inner, &this);
    lead.run(this.woken());
    // The thread that woke this one has taken it off the list and counted it.
    std::mem::forget(fallen);
}

pub(super) fn begin_leading<'a, T>(
    queue: &'a Mutex<Inner<T>>,
    mut inner: MutexGuard<'_, Inner<T>>,
    this: &'a Arc<Parked>,
) -> Fallen<'a, T> {
    inner.crew.awake -= 1;
    inner.leading.push(this.clone());
    Fallen { queue, this }
}

/// Cleans up after a leader whose loop panics.
pub(super) struct Fallen<'a, T> {
    queue: &'a Mutex<Inner<T>>,
    this: &'a Arc<Parked>,
}

impl<T> Drop for Fallen<'_, T> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        let here = |other: &Arc<Parked>| Arc::ptr_eq(self.this, other);
        if let Some(at) = inner.leading.iter().position(here) {
            inner.leading.swap_remove(at);
            inner.crew.awake += 1;
        }
        self.this.reset();
        wake_next(inner);
    }
}

impl<T: Send + 'static> WorkQueue<T> {
    /// A queue that holds as many items as `settings` allow, plus one for each free thread. Close events are never
    /// refused.
    pub(in crate::server) fn new(settings: Settings) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner::default())),
            settings,
            processors: thread::available_parallelism().map_or(1, usize::from),
            shut: AtomicBool::new(false),
        }
    }

    pub(in crate::server) fn mode(&self) -> Mode {
        self.settings.mode
    }

    /// Adds work; returns it if the queue is full or shut.
    pub(in crate::server) fn push(&self, since: Instant, work: T) -> Result<Pushed, T> {
        let inner = self.inner.lock();
        let free = self.settings.threads.saturating_sub(inner.crew.busy);
        if self.is_shut() || inner.items.len() >= self.settings.limit.saturating_add(free) {
            return Err(work);
        }
        Ok(add(inner, since, work))
    }

    /// The next item. Until there is one, this thread is parked or runs a loop. `None` once the queue is shut and
    /// empty, or when this thread is one too many.
    pub(in crate::server) fn take(&self, loops: &Loops) -> Option<T> {
        PLACE.with(|place| {
            let place = &mut *place.borrow_mut();
            let inner = place.enter(&self.inner);
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
        let mut yielded = false;
        loop {
            if let Some(Item { work, .. }) = inner.items.pop_front() {
                inner.taken += 1;
                inner.crew.busy += 1;
                let watched = loops.watched();
                if watched == 0 {
                    inner.last_taken = Some(Instant::now());
                    place.since = inner.last_taken;
                }
                pace::note_taken();
                // A leader finishes a few short items before another thread has woken up. It may keep them to itself
                // only while a loop stands still: no worker leads that loop before all work is taken, and if that takes
                // long, the loop's own thread wakes others.
                if inner.leading.len() >= watched || inner.is_behind() {
                    wake_next(inner);
                }
                return Some(work);
            }
            if self.is_shut() {
                return None;
            }
            if let Some(lead) = loops.try_lead() {
                run_loop(&self.inner, inner, &lead);
                drop(lead);
                inner = self.inner.lock();
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
        loop {
            let left = self.settings.keep_alive.saturating_sub(since.elapsed());
            let superfluous = inner.crew.threads > self.settings.kept;
            // If it is off the list, it has been woken for work and must take it.
            if superfluous
                && left.is_zero()
                && let Some(at) = inner.parked.iter().position(Parked::is_this)
            {
                inner.parked.remove(at);
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
        wake_next(self.inner.lock());
    }

    /// Wakes a parked thread that may run a loop, even if another is being woken for work: that one would leave the
    /// loop standing still while it runs its handler.
    pub(in crate::server) fn wake_for_loop(&self) {
        let mut inner = self.inner.lock();
        if let Some(thread) = inner.parked.pop() {
            inner.note_woken();
            drop(inner);
            thread.wake();
        }
    }

    /// Takes all queued items but one for a thread that has been woken, unless that is late.
    pub(in crate::server) fn drain_surplus(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        let in_time = |oldest: &Item<T>| oldest.since.elapsed() < CHECK_EVERY;
        let kept = inner.waking && !self.is_shut() && inner.items.front().is_some_and(in_time);
        let surplus = inner.items.len().saturating_sub(usize::from(kept));
        inner.items.drain(..surplus).map(|item| item.work).collect()
    }

    /// Takes all queued items.
    pub fn drain(&self) -> Vec<T> {
        let mut inner = self.inner.lock();
        inner.items.drain(..).map(|item| item.work).collect()
    }

    /// Refuses all further work; threads end once the queue is empty.
    pub fn shut(&self) {
        let mut inner = self.inner.lock();
        self.shut.store(true, Ordering::Release);
        let threads: Vec<_> = std::iter::from_fn(|| inner.pick()).collect();
        drop(inner);
        for thread in threads {
            thread.wake();
        }
    }

    pub(in crate::server) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// How many items are queued, the age of the oldest, and how many threads take them.
    pub(in crate::server) fn load(&self) -> (usize, Duration, usize) {
        let inner = self.inner.lock();
        let oldest = inner.items.front().map(|item| item.since.elapsed());
        (
            inner.items.len(),
            oldest.unwrap_or_default(),
            inner.crew.threads,
        )
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
