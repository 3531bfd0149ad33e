//! Who runs a loop: its own thread, or a worker that has nothing else to do.
//!
//! Handing a request from the loop's thread to a worker takes two switches of threads, several times what a
//! short handler takes. So while handlers are short, a worker that is out of work runs the loop itself
//! until that brings work ([`Leads::begin`]), and then does this work while nobody looks after the sockets.
//!
//! The loop's own thread keeps watch meanwhile. It takes the loop back once nobody has run it for [`TICK`]:
//! a handler that blocks holds the others up for a moment, once. After that workers keep off for a while,
//! and the loop's thread hands work over as it comes.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{ArcMutexGuard, Mutex, RawMutex, RwLock};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use super::Stage;
use super::pressure::SHORT;
use super::queue::WorkQueue;

/// So long may a loop stand still before its own thread takes it back.
const TICK: Duration = Duration::from_millis(2);
/// So many times in a row: a thread may also have been kept from running.
const SLOW_TURNS: u32 = 3;
/// How long workers keep off after the first time that this went wrong, and at most; it doubles.
const MIN_REST: Duration = Duration::from_millis(5);
const MAX_REST: Duration = Duration::from_secs(1);
/// Leading that has lasted so many times longer than the next rest starts over with [`MIN_REST`].
const GOOD: u32 = 4;

/// Whoever has it runs the loop.
type RuntimeGuard = ArcMutexGuard<RawMutex, Option<Runtime>>;

thread_local! {
    /// When this thread last stopped running a loop, and how much work it has taken since.
    static SINCE: Cell<Option<(Instant, u32)>> = const { Cell::new(None) };
    /// How often in a row that work has taken long.
    static SLOW: Cell<u32> = const { Cell::new(0) };
}

/// One loop.
#[derive(Debug)]
pub(super) struct Lead {
    runtime: Arc<Mutex<Option<Runtime>>>,
    owner: Thread,
    /// The owner runs the loop and has not been asked to let go of it.
    owned: AtomicBool,
    ask: Notify,
    /// Workers' beginnings and ends: odd while one of them runs the loop.
    turns: AtomicU64,
    /// The owner waits for a worker to stop, for as long as that takes.
    asleep: AtomicBool,
}

/// All loops of a server.
#[derive(Debug, Default)]
pub(super) struct Leads {
    loops: RwLock<Vec<Arc<Lead>>>,
    /// Loops that their owners only watch.
    watched: AtomicUsize,
    rest: Mutex<Rest>,
    /// Mirrors `Rest::until` for a look without the lock, which all who write it hold: whether it may lie ahead.
    barred: AtomicBool,
}

/// When workers keep off the loops.
#[derive(Debug)]
struct Rest {
    until: Instant,
    next: Duration,
}

impl Default for Rest {
    fn default() -> Self {
        Self {
            until: Instant::now(),
            next: MIN_REST,
        }
    }
}

/// A worker's run of a loop.
pub(super) struct Turn {
    lead: Arc<Lead>,
    runtime: RuntimeGuard,
}

impl Turn {
    pub(super) fn run(&self, until: impl Future<Output = ()>) {
        if let Some(runtime) = &*self.runtime {
            runtime.block_on(until);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        SINCE.set(Some((Instant::now(), 0)));
        // Before `runtime` is given up, so that the next one's beginning counts after this.
        self.lead.turns.fetch_add(1, Ordering::SeqCst);
        if self.lead.asleep.swap(false, Ordering::SeqCst) {
            self.lead.owner.unpark();
        }
    }
}

/// This thread has taken a piece of work.
pub(super) fn note_taken() {
    if let Some((since, taken)) = SINCE.get() {
        SINCE.set(Some((since, taken + 1)));
    }
}

/// Whether what this thread does between its runs of a loop takes long.
fn is_slow() -> bool {
    let Some((since, taken)) = SINCE.take() else {
        return false;
    };
    let slow = match since.elapsed() > SHORT * taken.max(1) {
        true => SLOW.get() + 1,
        false => 0,
    };
    SLOW.set(slow % SLOW_TURNS);
    slow == SLOW_TURNS
}

impl Leads {
    /// Begins to run a loop that nobody runs. If all are run by their own threads, one of these is asked to
    /// let go, and calls a parked worker when it has.
    pub(super) fn begin(&self) -> Option<Turn> {
        if self.are_barred() {
            SINCE.set(None);
            return None;
        }
        if is_slow() {
            self.bar(Instant::now());
            self.alert();
            return None;
        }
        let loops = self.loops.read();
        for lead in &*loops {
            if let Some(runtime) = lead.runtime.try_lock_arc()
                && runtime.is_some()
            {
                lead.turns.fetch_add(1, Ordering::SeqCst);
                let lead = lead.clone();
                return Some(Turn { lead, runtime });
            }
        }
        for lead in &*loops {
            if lead.owned.swap(false, Ordering::SeqCst) {
                lead.ask.notify_one();
                break;
            }
        }
        None
    }

    /// How many loops their owners only watch: those that a worker runs, and those that stand still.
    pub(super) fn watched(&self) -> usize {
        self.watched.load(Ordering::Relaxed)
    }

    fn are_barred(&self) -> bool {
        if !self.barred.load(Ordering::Relaxed) {
            return false;
        }
        let rest = self.rest.lock();
        let barred = Instant::now() < rest.until;
        self.barred.store(barred, Ordering::Relaxed);
        barred
    }

    /// Workers keep off the loops for a while, unless they do so already: what stops all of them for a moment,
    /// such as a garbage collection, is no more reason than what stops one.
    fn bar(&self, now: Instant) {
        let mut rest = self.rest.lock();
        if now < rest.until {
            return;
        }
        if now.saturating_duration_since(rest.until) > rest.next * GOOD {
            rest.next = MIN_REST;
        }
        rest.until = now + rest.next;
        rest.next = (rest.next * 2).min(MAX_REST);
        self.barred.store(true, Ordering::Relaxed);
    }

    /// Has the loops' own threads look at how things stand.
    pub(super) fn alert(&self) {
        for lead in &*self.loops.read() {
            lead.owner.unpark();
        }
    }

    /// Runs a loop on its own thread, or watches others run it, until the server is closed.
    pub(super) fn own(
        &self,
        runtime: Runtime,
        queue: &WorkQueue,
        attention: &Notify,
        stage: &mut watch::Receiver<Stage>,
    ) {
        let lead = Arc::new(Lead {
            runtime: Arc::new(Mutex::new(Some(runtime))),
            owner: thread::current(),
            owned: AtomicBool::new(false),
            ask: Notify::new(),
            turns: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
        });
        let mut held = lead.runtime.lock_arc();
        self.loops.write().push(lead.clone());
        let runtime = loop {
            if lead.run(&held, stage) {
                break held.take();
            }
            drop(held);
            self.watched.fetch_add(1, Ordering::Relaxed);
            queue.call_for_nothing();
            let taken_back = lead.watch(self, stage);
            self.watched.fetch_sub(1, Ordering::Relaxed);
            held = match taken_back {
                Some(runtime) => runtime,
                // Waits for a worker to let go, which it does as soon as the queue is shut.
                None => break lead.runtime.lock().take(),
            };
            // What waits was left to the worker that is stuck.
            queue.rouse();
            attention.notify_one();
        };
        self.loops
            .write()
            .retain(|other| !Arc::ptr_eq(other, &lead));
        // Dropping it drops the connections' tasks, and each reports its end.
        drop(runtime);
    }
}

impl Lead {
    /// On the loop's own thread. True once the server is closed, false when a worker asks for the loop.
    fn run(&self, runtime: &RuntimeGuard, stage: &mut watch::Receiver<Stage>) -> bool {
        let Some(runtime) = &**runtime else {
            return true;
        };
        self.owned.store(true, Ordering::SeqCst);
        let closed = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = stage.wait_for(|stage| *stage == Stage::Closed) => true,
                () = self.ask.notified() => false,
            }
        });
        self.owned.store(false, Ordering::SeqCst);
        closed
    }

    /// Waits while workers run the loop; `None` once the server is closed.
    fn watch(&self, leads: &Leads, stage: &watch::Receiver<Stage>) -> Option<RuntimeGuard> {
        let mut seen = self.turns.load(Ordering::SeqCst);
        let mut since = Instant::now();
        while *stage.borrow() != Stage::Closed {
            thread::park_timeout(TICK);
            let turns = self.turns.load(Ordering::SeqCst);
            if turns != seen {
                (seen, since) = (turns, Instant::now());
            }
            let long = since.elapsed() >= TICK;
            if seen % 2 == 1 {
                if long {
                    self.sleep(seen, stage);
                }
                continue;
            }
            if (long || leads.are_barred())
                && let Some(runtime) = self.runtime.try_lock_arc()
            {
                if long {
                    leads.bar(since + TICK);
                }
                return Some(runtime);
            }
        }
        None
    }

    /// A worker has been running the loop without work: waits for its end, or for the server's.
    fn sleep(&self, seen: u64, stage: &watch::Receiver<Stage>) {
        self.asleep.store(true, Ordering::SeqCst);
        if self.turns.load(Ordering::SeqCst) == seen && *stage.borrow() != Stage::Closed {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Leads {
        /// As if so many owners watched.
        pub(in crate::server) fn watching(loops: usize) -> Self {
            Self {
                watched: loops.into(),
                ..Self::default()
            }
        }
    }

    #[test]
    fn loops_that_stand_still_together_rest_as_long_as_one() {
        let leads = Leads::default();
        let now = Instant::now();
        for _ in 0..8 {
            leads.bar(now);
        }
        assert_eq!(leads.rest.lock().until, now + MIN_REST);
        leads.bar(now + MIN_REST);
        assert_eq!(leads.rest.lock().until, now + MIN_REST * 3, "again soon");
    }

    fn free_loop() -> Arc<Lead> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        Arc::new(Lead {
            runtime: Arc::new(Mutex::new(Some(runtime))),
            owner: thread::current(),
            owned: AtomicBool::new(false),
            ask: Notify::new(),
            turns: AtomicU64::new(0),
            asleep: AtomicBool::new(false),
        })
    }

    #[test]
    fn workers_run_no_loop_while_they_back_off_and_do_again_afterwards() {
        let leads = Leads::default();
        leads.loops.write().push(free_loop());
        assert!(leads.begin().is_some());
        leads.rest.lock().next = Duration::from_secs(3600);
        leads.bar(Instant::now());
        for _ in 0..3 {
            assert!(leads.begin().is_none());
        }
        leads.rest.lock().until = Instant::now();
        assert!(leads.begin().is_some());
    }

    #[test]
    fn the_owner_of_a_loop_takes_it_back_at_once_while_workers_back_off() {
        let leads = Leads::default();
        leads.rest.lock().next = Duration::from_secs(3600);
        leads.bar(Instant::now());
        let until = leads.rest.lock().until;
        let (_stage, stage) = watch::channel(Stage::Accepting);
        assert!(free_loop().watch(&leads, &stage).is_some());
        assert_eq!(leads.rest.lock().until, until, "it was no failure");
    }
}
