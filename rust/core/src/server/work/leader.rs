//! Which thread runs a loop: its own, or an idle worker (leader/followers).
//!
//! Handing a request from the loop's thread to a worker takes two context switches, several times the cost of a short
//! handler. So while handlers are short, an idle worker leads: it runs the loop itself until that brings work
//! ([`Loops::try_lead`]), then does this work while the sockets are unattended.
//!
//! The loop's own thread supervises meanwhile. It takes the loop back once no thread has run it for [`STALL_LIMIT`], so
//! a blocking handler delays the others only briefly, and once. Workers then back off for a while, and the loop's
//! thread hands work over as it arrives.
//!
//! # Orderings
//!
//! `turns` and `asleep` are a pair: a worker that stops writes `turns` and then reads `asleep`, its loop's own thread
//! writes `asleep` and then reads `turns`. At least one of them must see what the other wrote, or the thread sleeps
//! while the loop stands still, so both are `SeqCst`. So is `owned`, to order its writes with these; they are rare. The
//! runtime itself is behind its lock. `watched` and `backed_off` are `Relaxed`: they are hints. A worker that reads a
//! stale value leads once more, or wakes one thread too many or too few. The loop's own thread corrects that: it wakes
//! workers after writing `watched`, and asks for help.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::pace::{self, Pause, Progress, STALL_LIMIT};
use super::pressure::STUCK;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use crate::sync::thread::{self, Thread};
use crate::sync::{ArcGuard, Instant, Mutex, Runtime, RwLock, scheduled, thread_local};

/// Initial and maximum back-off; it doubles on each failure.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);
/// After leading without failure for this many times the next back-off, the back-off is reset.
const RESET_AFTER: u32 = 4;
/// Slow pieces of work in a row after which none of the workers leads: it would let the loop stand still once more.
const SLOW_IN_A_ROW: u32 = 8;

thread_local! {
    /// The place in its list of the loop that this thread led last: its connections are in this processor's cache.
    static LED: Cell<usize> = const { Cell::new(0) };
}

/// The thread that holds it runs the loop.
type RuntimeGuard = ArcGuard<Option<Runtime>>;

/// One loop.
#[derive(Debug)]
pub(super) struct EventLoop {
    runtime: Arc<Mutex<Option<Runtime>>>,
    owner: Thread,
    /// The owner runs the loop and has not been asked to let go of it.
    owned: AtomicBool,
    ask: Notify,
    progress: Arc<Progress>,
    /// The owner is parked, without a timeout, until a worker stops.
    asleep: AtomicBool,
}

/// All loops of a team.
#[derive(Debug, Default)]
pub(in crate::server) struct Loops {
    loops: RwLock<Vec<Arc<EventLoop>>>,
    /// Loops that their owners only watch.
    watched: AtomicUsize,
    backoff: Mutex<Backoff>,
    /// Whether `Backoff::until` may lie ahead: readable without the lock, written under it.
    backed_off: AtomicBool,
    /// Slow pieces of work in a row, of those taken while the loops' own threads ran all loops. A hint.
    slow: AtomicU32,
}

/// Until when workers back off, and for how long the next time.
#[derive(Debug)]
struct Backoff {
    until: Instant,
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            until: Instant::now(),
            next: MIN_BACKOFF,
        }
    }
}

/// A worker's run of a loop.
pub(in crate::server) struct Leadership {
    event_loop: Arc<EventLoop>,
    runtime: RuntimeGuard,
}

impl Leadership {
    pub(in crate::server) fn run(&self, until: impl Future<Output = ()>) {
        if let Some(runtime) = &*self.runtime {
            runtime.block_on(until);
        }
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        let progress = &self.event_loop.progress;
        pace::note_stopped(progress);
        // Before `runtime` is released, so that the next run is counted after this one.
        progress.turns.fetch_add(1, Ordering::SeqCst);
        if self.event_loop.asleep.swap(false, Ordering::SeqCst) {
            self.event_loop.owner.unpark();
        }
    }
}

impl Loops {
    /// Leads a loop that no thread runs, if possible the one that it led last. If there is none, one loop's own thread
    /// is asked to release its loop; it wakes a parked worker when it has.
    pub(in crate::server) fn try_lead(&self) -> Option<Leadership> {
        if self.are_backed_off() {
            pace::forget();
            return None;
        }
        if pace::is_slow() || self.slow.load(Ordering::Relaxed) >= SLOW_IN_A_ROW {
            self.back_off(Instant::now());
            self.alert();
            return None;
        }
        let loops = self.loops.read();
        let from_last = || {
            let all = loops.iter().enumerate().cycle();
            all.skip(LED.with(Cell::get)).take(loops.len())
        };
        for (place, event_loop) in from_last() {
            if let Some(runtime) = event_loop.runtime.try_lock_arc()
                && runtime.is_some()
            {
                let progress = &event_loop.progress;
                LED.with(|led| led.set(place));
                progress.leader.store(scheduled::this(), Ordering::Relaxed);
                progress.turns.fetch_add(1, Ordering::SeqCst);
                return Some(Leadership {
                    event_loop: event_loop.clone(),
                    runtime,
                });
            }
        }
        for (_, event_loop) in from_last() {
            if event_loop.owned.swap(false, Ordering::SeqCst) {
                event_loop.ask.notify_one();
                break;
            }
        }
        None
    }

    /// How many loops their owners only supervise: those that a worker runs, and those that stand still.
    pub(in crate::server) fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    /// A worker has done a piece of work that it took while the loops' own threads ran all loops.
    pub(super) fn note_worked(&self, time: Duration) {
        if time >= STUCK {
            self.slow.fetch_add(1, Ordering::Relaxed);
        } else if self.slow.load(Ordering::Relaxed) > 0 {
            self.slow.store(0, Ordering::Relaxed);
        }
    }

    fn are_backed_off(&self) -> bool {
        if !self.backed_off.load(Ordering::Relaxed) {
            return false;
        }
        let backoff = self.backoff.lock();
        let backed_off = Instant::now() < backoff.until;
        self.backed_off.store(backed_off, Ordering::Relaxed);
        backed_off
    }

    /// Makes workers back off, unless they do already: a pause of all threads, such as a garbage collection, counts
    /// once.
    fn back_off(&self, now: Instant) {
        let mut backoff = self.backoff.lock();
        if now < backoff.until {
            return;
        }
        if now.saturating_duration_since(backoff.until) > backoff.next * RESET_AFTER {
            backoff.next = MIN_BACKOFF;
        }
        backoff.until = now + backoff.next;
        backoff.next = (backoff.next * 2).min(MAX_BACKOFF);
        self.backed_off.store(true, Ordering::Relaxed);
    }

    /// Makes the loops' own threads check the state again.
    pub(in crate::server) fn alert(&self) {
        for event_loop in &*self.loops.read() {
            event_loop.owner.unpark();
        }
    }

    /// Runs a loop on its own thread, or supervises workers that run it, until the server is closed.
    pub(in crate::server) fn run_or_supervise(&self, runtime: Runtime, mut owner: impl Owner) {
        let event_loop = Arc::new(EventLoop::new(runtime));
        let mut held = event_loop.runtime.lock_arc();
        self.loops.write().push(event_loop.clone());
        let runtime = loop {
            if event_loop.run(&held, &mut owner) {
                break held.take();
            }
            drop(held);
            self.watched.fetch_add(1, Ordering::Relaxed);
            owner.loop_is_free();
            let taken_back = event_loop.watch(self, &owner);
            self.watched.fetch_sub(1, Ordering::Relaxed);
            held = match taken_back {
                Some(runtime) => runtime,
                // Blocks until the worker releases the loop, as it does once the queue is shut.
                None => break event_loop.runtime.lock().take(),
            };
            // Queued work had been left to the worker that is stuck.
            owner.taken_back();
        };
        self.loops
            .write()
            .retain(|other| !Arc::ptr_eq(other, &event_loop));
        // Dropping it drops the connections' tasks, each of which reports its end.
        drop(runtime);
    }
}

/// What the thread that owns a loop needs from its server.
pub(in crate::server) trait Owner {
    fn is_closed(&self) -> bool;
    /// Completes when it is. Unparked threads check [`Self::is_closed`]; closing the server calls [`Loops::alert`].
    fn closed(&mut self) -> impl Future<Output = ()>;
    /// A worker may run the loop now: wake one.
    fn loop_is_free(&self);
    /// The worker that led the loop is slow, or stuck in a handler.
    fn taken_back(&self);
}

impl EventLoop {
    fn new(runtime: Runtime) -> Self {
        Self {
            runtime: Arc::new(Mutex::new(Some(runtime))),
            owner: thread::current(),
            owned: AtomicBool::new(false),
            ask: Notify::new(),
            progress: Arc::default(),
            asleep: AtomicBool::new(false),
        }
    }

    /// On the loop's own thread. True once the server is closed, false when a worker asks for the loop.
    fn run(&self, runtime: &RuntimeGuard, owner: &mut impl Owner) -> bool {
        let Some(runtime) = &**runtime else {
            return true;
        };
        self.owned.store(true, Ordering::SeqCst);
        let closed = runtime.block_on(async {
            tokio::select! {
                biased;
                () = owner.closed() => true,
                () = self.ask.notified() => false,
            }
        });
        self.owned.store(false, Ordering::SeqCst);
        closed
    }

    /// Supervises while workers run the loop; `None` once the server is closed.
    fn watch(&self, loops: &Loops, owner: &impl Owner) -> Option<RuntimeGuard> {
        let mut pause = Pause::of(&self.progress);
        while !owner.is_closed() {
            thread::park_timeout(STALL_LIMIT);
            if self.progress.turns.load(Ordering::SeqCst) != pause.turns {
                pause = Pause::of(&self.progress);
            }
            if pause.turns % 2 == 1 {
                if pause.is_long() {
                    self.sleep(pause.turns, owner);
                }
                continue;
            }
            if pause.is_progress(&self.progress) {
                pause = Pause::of(&self.progress);
            }
            let stuck = pause.is_long() && !pause.is_for_a_processor(&self.progress);
            if (stuck || loops.are_backed_off())
                && let Some(runtime) = self.runtime.try_lock_arc()
            {
                if stuck {
                    loops.back_off(pause.since + STALL_LIMIT);
                }
                return Some(runtime);
            }
        }
        None
    }

    /// A worker has been running the loop without bringing work: parks until it stops, or the server closes.
    fn sleep(&self, seen: u64, owner: &impl Owner) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.progress.turns.load(Ordering::SeqCst) == seen && !owner.is_closed() {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Loops {
        /// As if this many owners supervised.
        pub(in crate::server::work) fn watching(loops: usize) -> Self {
            Self {
                watched: loops.into(),
                ..Self::default()
            }
        }

        /// Adds a loop that no thread runs.
        pub(in crate::server::work) fn set_free(&self) {
            self.loops.write().push(free_loop());
        }
    }

    #[test]
    fn loops_that_stand_still_together_rest_as_long_as_one() {
        let loops = Loops::default();
        let now = Instant::now();
        for _ in 0..8 {
            loops.back_off(now);
        }
        assert_eq!(loops.backoff.lock().until, now + MIN_BACKOFF);
        loops.back_off(now + MIN_BACKOFF);
        assert_eq!(
            loops.backoff.lock().until,
            now + MIN_BACKOFF * 3,
            "again soon"
        );
    }

    #[test]
    fn a_worker_leads_the_loop_again_that_it_led_last() {
        let loops = Loops::default();
        (0..3).for_each(|_| loops.set_free());
        let others = [loops.try_lead(), loops.try_lead()];
        let last = loops.try_lead().unwrap().event_loop.clone();
        drop(others);
        for _ in 0..3 {
            let again = loops.try_lead().unwrap();
            assert!(Arc::ptr_eq(&again.event_loop, &last));
        }
    }

    fn free_loop() -> Arc<EventLoop> {
        Arc::new(EventLoop::new(crate::sync::idle_runtime()))
    }

    /// The owner of a loop of a server that is never closed.
    struct Open;

    impl Owner for Open {
        fn is_closed(&self) -> bool {
            false
        }
        fn closed(&mut self) -> impl Future<Output = ()> {
            std::future::pending()
        }
        fn loop_is_free(&self) {}
        fn taken_back(&self) {}
    }

    #[test]
    fn workers_run_no_loop_while_they_back_off_and_do_again_afterwards() {
        let loops = Loops::default();
        loops.set_free();
        assert!(loops.try_lead().is_some());
        loops.backoff.lock().next = Duration::from_secs(3600);
        loops.back_off(Instant::now());
        for _ in 0..3 {
            assert!(loops.try_lead().is_none());
        }
        loops.backoff.lock().until = Instant::now();
        assert!(loops.try_lead().is_some());
    }

    #[test]
    fn an_owner_that_takes_its_loop_back_while_workers_back_off_does_not_prolong_that() {
        let loops = Loops::default();
        loops.backoff.lock().next = Duration::from_secs(3600);
        loops.back_off(Instant::now());
        let until = loops.backoff.lock().until;
        assert!(free_loop().watch(&loops, &Open).is_some());
        assert_eq!(loops.backoff.lock().until, until, "it was no failure");
    }
}
