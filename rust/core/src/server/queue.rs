//! Work on its way from the sockets to the threads that run user code.
//!
//! Threads either *pull* ([`super::Server::take`] blocks until there is work) or
//! get batches *pushed* by the loop once per turn ([`WorkQueue::drain`]). A thread that
//! finds nothing to pull runs a loop itself if it can (`lead.rs`), else it is parked.
//! Wake-ups are chained: a push wakes at most one parked thread, and a woken
//! thread wakes the next only when it leaves work behind. Waking a thread costs
//! more than parsing a request. The thread that parked last is woken first, so
//! that of a pool which has once grown only the threads that are needed work, and
//! stay warm.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Poll, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::Config;
use super::exchange::{Exchange, Request};
use super::lead::{self, Leads, Turn};
use super::pressure::Pressure;

/// Something that user code has to see.
#[derive(Debug)]
pub enum Work {
    /// A whole request, body included.
    Request(Request),
    /// Messages or the closing of a channel wait: [`Exchange::take_events`].
    Events(Exchange),
}

/// Where a queue's work goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Threads call [`super::Server::take`]. What they cannot take in time is reported to
    /// [`super::Sink::on_starved`], which may start threads or take it away with [`WorkQueue::drain`].
    Pull,
    /// The loop hands everything to [`super::Sink::on_work`] at the end of each turn.
    Push,
}

/// Threads that run the loops themselves call others for help once so much has waited for so long.
const MANY: usize = 8;
const LONG: Duration = Duration::from_millis(1);
/// A parked thread that is kept does not look more often than that whether it still is.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bounded queue of [`Work`], see the module's text.
#[derive(Debug)]
pub struct WorkQueue {
    inner: Arc<Mutex<Inner>>,
    mode: Mode,
    limit: usize,
    /// Threads that pull, at most.
    threads: usize,
    /// Threads that stay though nothing comes for them, and how long the others do.
    kept: usize,
    keep_alive: Duration,
    processors: usize,
}

/// A thread inside [`WorkQueue::take`] that has nothing to do.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    /// Set by who took it off its list: a thread may also wake without a reason.
    called: AtomicBool,
    /// How it is woken while it runs a loop.
    waker: Mutex<Option<Waker>>,
}

impl Sleeper {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        match self.waker.lock().take() {
            Some(waker) => waker.wake(),
            None => self.thread.unpark(),
        }
    }

    fn has_been_called(&self) -> bool {
        self.called.swap(false, Ordering::Acquire)
    }

    /// Until somebody calls, on a thread that runs a loop meanwhile.
    async fn called(&self) {
        poll_fn(|cx| {
            // The waker first: whoever calls later finds it, whoever has called before is seen.
            let waker = &mut *self.waker.lock();
            if self.has_been_called() {
                *waker = None;
                return Poll::Ready(());
            }
            *waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

thread_local! {
    static SELF: Arc<Sleeper> = Arc::new(Sleeper {
        thread: thread::current(),
        called: AtomicBool::new(false),
        waker: Mutex::new(None),
    });
    static PLACE: RefCell<Place> = const { RefCell::new(Place::none()) };
}

/// Where this thread is counted: from its first look for work until it leaves, or ends.
#[derive(Debug)]
struct Place {
    queue: Weak<Mutex<Inner>>,
    /// It has taken work and not come back.
    busy: bool,
}

impl Place {
    const fn none() -> Self {
        Self {
            queue: Weak::new(),
            busy: false,
        }
    }

    /// Counts this thread as one that is out of work and looks for more.
    fn enter<'a>(&mut self, queue: &'a Arc<Mutex<Inner>>) -> MutexGuard<'a, Inner> {
        let stays = Weak::as_ptr(&self.queue) == Arc::as_ptr(queue);
        if !stays {
            *self = Self {
                queue: Arc::downgrade(queue),
                busy: false,
            };
        }
        let mut inner = queue.lock();
        if !stays {
            inner.threads += 1;
            inner.awake += 1;
        }
        if std::mem::take(&mut self.busy) {
            inner.busy -= 1;
        }
        inner
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.upgrade() {
            let mut inner = queue.lock();
            inner.threads -= 1;
            inner.awake -= 1;
            inner.busy -= usize::from(self.busy);
        }
    }
}

#[derive(Debug, Default)]
struct Inner {
    items: VecDeque<Item>,
    /// In the order in which they parked.
    parked: Vec<Arc<Sleeper>>,
    /// Those that run a loop.
    leading: Vec<Arc<Sleeper>>,
    /// Threads that have a [`Place`] here.
    threads: usize,
    /// Those that run user code, look for work or have been called.
    awake: usize,
    /// Those that have taken work and not come back.
    busy: usize,
    /// A parked thread has been called and has not come yet, nor has another. One that runs a loop does not
    /// count: its loop may be held up, by a slow disk for example, and the others must not wait for that.
    waking: bool,
    /// Items that threads have taken so far.
    taken: u64,
    /// When a thread last took one while the loops' own threads ran all loops. At other times work is short, and
    /// asking for the time would cost a part of it.
    last_taken: Option<Instant>,
    shut: bool,
}

#[derive(Debug)]
struct Item {
    since: Instant,
    /// [`Inner::taken`] when this came.
    before: u64,
    work: Work,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// A parked thread is there for it.
    Served,
    /// There is more work than parked threads: somebody should look after it soon.
    Starved,
}

impl Inner {
    /// Takes a thread off its list; the caller calls it, without the lock. First this thread, if it runs a
    /// loop and that has brought work; then the one that parked last; then one that runs another loop.
    fn wake(&mut self) -> Option<Arc<Sleeper>> {
        if let Some(here) = self.leading.iter().position(is_self) {
            self.awake += 1;
            return Some(self.leading.swap_remove(here));
        }
        if let Some(sleeper) = self.parked.pop() {
            self.note_called();
            return Some(sleeper);
        }
        let sleeper = self.leading.pop()?;
        self.awake += 1;
        Some(sleeper)
    }

    fn note_called(&mut self) {
        self.waking = true;
        self.awake += 1;
    }

    /// Whether this thread runs a loop, and so will look for work at the end of its turn.
    fn is_led_here(&self) -> bool {
        self.leading.iter().any(is_self) || is_called_here()
    }

    /// Whether so much has waited for so long that one thread does not get through it in good time.
    fn is_behind(&self) -> bool {
        self.items.len() >= MANY
            && self
                .items
                .front()
                .is_some_and(|oldest| oldest.since.elapsed() > LONG)
    }
}

fn is_self(sleeper: &Arc<Sleeper>) -> bool {
    SELF.with(|own| Arc::ptr_eq(own, sleeper))
}

/// Whether this thread runs a loop and has been called: it comes as soon as its turn is over.
fn is_called_here() -> bool {
    SELF.with(|own| own.called.load(Ordering::Acquire))
}

fn add(mut inner: MutexGuard<'_, Inner>, work: Work) -> Pushed {
    let since = match &work {
        Work::Request(request) => request.arrived,
        Work::Events(_) => Instant::now(),
    };
    let before = inner.taken;
    inner.items.push_back(Item {
        since,
        before,
        work,
    });
    // The thread being woken counts as well. Its handler may block for ever: what it does not take
    // itself needs another thread.
    let coming = inner.parked.len() + usize::from(inner.waking) + usize::from(inner.is_led_here());
    let pushed = if inner.items.len() <= coming {
        Pushed::Served
    } else {
        Pushed::Starved
    };
    wake_next(inner);
    pushed
}

/// Wakes one thread if there is work, unless one is on its way.
fn wake_next(mut inner: MutexGuard<'_, Inner>) {
    if inner.waking || inner.items.is_empty() || is_called_here() {
        return;
    }
    let sleeper = inner.wake();
    drop(inner);
    if let Some(sleeper) = sleeper {
        sleeper.call();
    }
}

/// Runs a loop until it, or somebody, calls.
fn run_loop(queue: &Mutex<Inner>, inner: MutexGuard<'_, Inner>, turn: &Turn) {
    SELF.with(|sleeper| {
        let fallen = begin_leading(queue, inner, sleeper);
        turn.run(sleeper.called());
        std::mem::forget(fallen);
    });
}

fn begin_leading<'a>(
    queue: &'a Mutex<Inner>,
    mut inner: MutexGuard<'_, Inner>,
    sleeper: &'a Arc<Sleeper>,
) -> Fallen<'a> {
    inner.awake -= 1;
    inner.leading.push(sleeper.clone());
    Fallen { queue, sleeper }
}

/// A thread whose loop panics.
struct Fallen<'a> {
    queue: &'a Mutex<Inner>,
    sleeper: &'a Arc<Sleeper>,
}

impl Drop for Fallen<'_> {
    fn drop(&mut self) {
        let mut inner = self.queue.lock();
        let here = |other: &Arc<Sleeper>| Arc::ptr_eq(self.sleeper, other);
        if let Some(at) = inner.leading.iter().position(here) {
            inner.leading.swap_remove(at);
            inner.awake += 1;
        }
        self.sleeper.called.store(false, Ordering::Release);
        *self.sleeper.waker.lock() = None;
        wake_next(inner);
    }
}

impl WorkQueue {
    /// A queue that holds at most so many items as told besides closings, which are never refused, and what
    /// those of its threads that are not busy will take.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            inner: Arc::default(),
            mode: config.mode,
            limit: config.queue,
            threads: config.threads,
            kept: config.kept,
            keep_alive: config.keep_alive,
            processors: thread::available_parallelism().map_or(1, usize::from),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds work; gives it back when the queue is full or shut.
    pub(crate) fn push(&self, work: Work) -> Result<Pushed, Work> {
        let inner = self.inner.lock();
        let free = self.threads.saturating_sub(inner.busy);
        if inner.shut || inner.items.len() >= self.limit.saturating_add(free) {
            return Err(work);
        }
        Ok(add(inner, work))
    }

    /// Adds work that must not be lost (a closing), whatever the limit. Refused only when shut.
    pub(crate) fn push_unbounded(&self, work: Work) -> Result<Pushed, Work> {
        let inner = self.inner.lock();
        if inner.shut {
            return Err(work);
        }
        Ok(add(inner, work))
    }

    /// The next item, waiting for it or looking for it at the sockets; `None` once the queue is shut and
    /// empty, or when this thread is one too many.
    pub(super) fn take(&self, leads: &Leads) -> Option<Work> {
        PLACE.with_borrow_mut(|place| {
            let work = self.next(place.enter(&self.inner), leads);
            match work {
                Some(_) => place.busy = true,
                None => *place = Place::none(),
            }
            work
        })
    }

    fn next<'a>(&'a self, mut inner: MutexGuard<'a, Inner>, leads: &Leads) -> Option<Work> {
        let mut yielded = false;
        loop {
            if let Some(Item { work, .. }) = inner.items.pop_front() {
                inner.taken += 1;
                inner.busy += 1;
                let led = leads.watched();
                if led == 0 {
                    inner.last_taken = Some(Instant::now());
                }
                lead::note_taken();
                // A thread that runs the loop gets through a few short ones before another has woken up.
                // It may be left alone with them only while a loop stands still: nobody begins to run
                // that before all is taken, and its own thread rouses others if that takes long.
                if inner.leading.len() >= led || inner.is_behind() {
                    wake_next(inner);
                }
                return Some(work);
            }
            if inner.shut {
                return None;
            }
            if let Some(turn) = leads.begin() {
                run_loop(&self.inner, inner, &turn);
                drop(turn);
                inner = self.inner.lock();
                continue;
            }
            if !yielded && inner.awake <= self.processors {
                // The loop is often about to push: giving it the processor once is cheaper than
                // being parked and woken. Not when there are more of us: taking turns at that,
                // all would share for ever what a few could do.
                yielded = true;
                drop(inner);
                thread::yield_now();
                inner = self.inner.lock();
                continue;
            }
            inner = self.park(inner)?;
            inner.waking = false;
        }
    }

    /// Until somebody calls; `None` if nobody does for long, and this thread is not one to be kept.
    fn park<'a>(&'a self, mut inner: MutexGuard<'a, Inner>) -> Option<MutexGuard<'a, Inner>> {
        let since = Instant::now();
        inner.awake -= 1;
        SELF.with(|sleeper| {
            inner.parked.push(sleeper.clone());
            loop {
                let left = self.keep_alive.saturating_sub(since.elapsed());
                let superfluous = inner.threads > self.kept;
                let here = |other: &Arc<Sleeper>| Arc::ptr_eq(sleeper, other);
                if superfluous
                    && left.is_zero()
                    && let Some(at) = inner.parked.iter().position(here)
                {
                    inner.parked.remove(at);
                    inner.awake += 1;
                    return None;
                }
                drop(inner);
                // One that is kept looks again now and then: others may have come, of which one runs a loop and
                // does not leave.
                thread::park_timeout(match superfluous {
                    true => left,
                    false => self.keep_alive.max(LOOK_AGAIN),
                });
                let called = sleeper.has_been_called();
                inner = self.inner.lock();
                if called {
                    return Some(inner);
                }
            }
        })
    }

    /// Wakes a parked thread for what waits.
    pub(super) fn rouse(&self) {
        wake_next(self.inner.lock());
    }

    /// Wakes a parked thread that may run a loop, though one may be on its way for work: it would leave the
    /// loop alone for as long as that takes.
    pub(super) fn call_for_nothing(&self) {
        let mut inner = self.inner.lock();
        if let Some(sleeper) = inner.parked.pop() {
            inner.note_called();
            drop(inner);
            sleeper.call();
        }
    }

    /// Takes everything that waits.
    pub fn drain(&self) -> Vec<Work> {
        let mut inner = self.inner.lock();
        inner.items.drain(..).map(|item| item.work).collect()
    }

    /// Refuses all further work; threads end once they have taken what is there.
    pub fn shut(&self) {
        let mut inner = self.inner.lock();
        inner.shut = true;
        while let Some(sleeper) = inner.wake() {
            sleeper.call();
        }
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.inner.lock().shut
    }

    /// How it stands, if anything waits.
    pub(super) fn pressure(&self) -> Option<Pressure> {
        let inner = self.inner.lock();
        let oldest = inner.items.front()?;
        let now = Instant::now();
        Some(Pressure {
            waiting: inner.items.len(),
            oldest: now.saturating_duration_since(oldest.since),
            overtaken: inner.taken - oldest.before,
            busy: inner.busy,
            // Threads that have yet to come for the first time are on their way, not stuck.
            all_busy: inner.threads > 0 && inner.busy >= inner.threads,
            quiet: inner
                .last_taken
                .map_or(Duration::MAX, |at| now.saturating_duration_since(at)),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::server::connection::Conn;
    use crate::server::socket::split_unix;
    use crate::server::{Address, Notice, Server, Sink};

    #[derive(Debug)]
    struct Nobody;

    impl Sink for Nobody {
        fn on_work(&self, _: Vec<Work>) {}
        fn on_starved(&self, _: usize) {}
        fn on_drained(&self, _: i64) {}
        fn on_closing(&self, _: i64, _: i32, _: &str) {}
        fn on_notice(&self, _: Notice) {}
    }

    pub(in crate::server) fn config() -> Config {
        Config {
            queue: 10,
            kept: 1,
            ..Config::default()
        }
    }

    fn works() -> impl Fn() -> Work {
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        works_of(&Server::bind(&address, config(), Arc::new(Nobody)).unwrap())
    }

    pub(in crate::server) fn works_of(server: &Server) -> impl Fn() -> Work + use<> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (stream, _) = tokio::net::UnixStream::pair().unwrap();
        let (_, write, ends) = split_unix(stream);
        let conn = Conn::new(server.shared.clone(), write, ends);
        move || {
            Work::Events(Exchange {
                conn: conn.clone(),
                seq: 0,
            })
        }
    }

    #[test]
    fn work_beyond_the_parked_threads_is_reported_while_one_of_them_wakes() {
        let work = works();
        let queue = WorkQueue::new(&config());
        // One thread is parked, and does not get to run between the two pushes.
        queue.inner.lock().parked.push(sleeper());
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Served));
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Starved));
    }

    #[test]
    fn threads_that_have_yet_to_come_are_not_taken_for_stuck() {
        let work = works();
        let queue = WorkQueue::new(&config());
        assert!(queue.push(work()).is_ok());
        assert!(!queue.pressure().unwrap().all_busy);
        queue.inner.lock().threads = 1;
        assert!(!queue.pressure().unwrap().all_busy, "it looks for work");
        queue.inner.lock().busy = 1;
        assert!(queue.pressure().unwrap().all_busy);
    }

    fn sleeper() -> Arc<Sleeper> {
        Arc::new(Sleeper {
            thread: thread::current(),
            called: AtomicBool::new(false),
            waker: Mutex::new(None),
        })
    }

    #[test]
    fn work_that_is_left_behind_calls_who_runs_a_loop_if_no_loop_stands_still() {
        let work = works();
        for standing_still in [0, 1] {
            let queue = WorkQueue::new(&config());
            let other = sleeper();
            queue.inner.lock().leading.push(other.clone());
            // This thread has been called, and is slow to come.
            queue.inner.lock().waking = true;
            assert!(queue.push(work()).is_ok());
            assert!(queue.push(work()).is_ok());
            queue.inner.lock().waking = false;
            let leads = Leads::watching(1 + standing_still);
            assert!(queue.take(&leads).is_some());
            assert_eq!(other.has_been_called(), standing_still == 0);
        }
    }

    #[test]
    fn a_called_thread_whose_loop_is_held_up_keeps_no_other_asleep() {
        let work = works();
        let queue = WorkQueue::new(&config());
        let (held_up, parked) = (sleeper(), sleeper());
        queue.inner.lock().leading.push(held_up.clone());
        assert_eq!(
            queue.push(work()).ok(),
            Some(Pushed::Starved),
            "it may not come soon"
        );
        assert!(held_up.has_been_called());
        queue.inner.lock().parked.push(parked.clone());
        assert!(queue.push(work()).is_ok());
        assert!(parked.has_been_called());
    }

    #[test]
    fn what_a_turn_brings_calls_the_thread_that_runs_it_once_and_no_other() {
        let work = works();
        let queue = WorkQueue::new(&config());
        let (own, parked) = (SELF.with(Arc::clone), sleeper());
        queue.inner.lock().leading.push(own.clone());
        queue.inner.lock().parked.push(parked.clone());
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Served));
        assert_eq!(
            queue.push(work()).ok(),
            Some(Pushed::Served),
            "both can take one"
        );
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Starved));
        assert!(own.has_been_called() && !parked.has_been_called());
    }

    #[test]
    fn who_runs_a_loop_is_called_only_for_work_that_no_parked_thread_can_take() {
        let work = works();
        let queue = WorkQueue::new(&config());
        let (leading, parked) = (sleeper(), sleeper());
        queue.inner.lock().leading.push(leading.clone());
        queue.call_for_nothing();
        assert!(!leading.has_been_called(), "it has a loop");
        queue.inner.lock().parked.push(parked.clone());
        assert!(queue.push(work()).is_ok());
        assert!(parked.has_been_called() && !leading.has_been_called());
        queue.inner.lock().parked.push(parked.clone());
        queue.call_for_nothing();
        assert!(parked.has_been_called(), "a loop is to be had");
        queue.inner.lock().waking = false;
        queue.rouse();
        assert!(leading.has_been_called(), "nobody else is there");
    }

    #[test]
    fn a_thread_whose_loop_panics_is_counted_as_before() {
        let work = works();
        for called in [false, true] {
            let queue = WorkQueue::new(&config());
            let own = SELF.with(Arc::clone);
            let inner = PLACE.with_borrow_mut(|place| place.enter(&queue.inner));
            let panics = std::panic::AssertUnwindSafe(|| {
                let _fallen = begin_leading(&queue.inner, inner, &own);
                if called {
                    assert!(queue.push(work()).is_ok());
                }
                panic!("in a turn");
            });
            assert!(std::panic::catch_unwind(panics).is_err());
            let inner = queue.inner.lock();
            assert_eq!((inner.awake, inner.threads, inner.busy), (1, 1, 0));
            assert!(inner.leading.is_empty() && !inner.waking && !own.has_been_called());
        }
    }
}
