//! Which thread runs a client's loop: its own, or a caller that waits for its only call.
//!
//! Handing a call to the loop's thread and its response back takes two context switches, a third of what a short call
//! costs. So while one caller makes a call after the other and waits for each at once, it runs the loop itself
//! ([`Helm::lead`]), until its call has ended. The loop's own thread, the owner, has stepped aside meanwhile: the
//! sockets are unattended between two such calls.
//!
//! The owner takes the loop back when another command comes, when the leading caller's call is not the only one, when it
//! would have to connect, and when no call began or ended for [`LOOK`]. So a caller leads for a few milliseconds at
//! most, on its thread only its own call makes upcalls, and nothing is unattended for longer than [`LOOK`].
//!
//! # Orderings
//!
//! A command and `aside` are a pair: a sender queues the command and then reads `aside`, the owner writes `aside` and
//! then looks for commands. At least one must see what the other wrote, hence the fences. All else is behind the lock
//! of the seat, or a hint: a stale one costs a look of the owner.

use super::engine::{Command, Engine};
use super::sink::CallId;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::yield_now;

/// The owner takes the loop back after that long without the begin or end of a lead.
const LOOK: Duration = Duration::from_millis(2);
/// So many calls in a row that their callers waited for at once make the owner step aside; more, up to `MOST_CALLS`,
/// after it had to come back soon.
const FEWEST_CALLS: u64 = 8;
const MOST_CALLS: u64 = 64;

/// What the thread that runs the loop needs.
pub(super) struct Seat {
    pub runtime: Runtime,
    pub engine: Arc<Engine>,
    pub inbox: UnboundedReceiver<Command>,
    pub stopped: bool,
}

/// See the module docs.
pub(super) struct Helm {
    /// The thread that holds it runs the loop. `None` before and after [`Helm::run`].
    seat: Mutex<Option<Seat>>,
    owner: OnceLock<Thread>,
    /// The owner has stepped aside: callers may run the loop.
    aside: AtomicBool,
    /// The owner shall take the loop back.
    wanted: AtomicBool,
    /// A caller has said that it will lead, and has not begun.
    expected: AtomicBool,
    /// The owner shall step aside once no call is active.
    step_aside: AtomicBool,
    /// Begins and ends of leads: odd while a caller leads.
    turns: AtomicU64,
    /// The thread that runs the loop shall look at the above.
    stir: Notify,
    habit: Mutex<Habit>,
}

/// How callers have used the client lately.
struct Habit {
    last: Instant,
    streak: u64,
    needed: u64,
}

impl Helm {
    pub(super) fn new() -> Self {
        Self {
            seat: Mutex::new(None),
            owner: OnceLock::new(),
            aside: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            expected: AtomicBool::new(false),
            step_aside: AtomicBool::new(false),
            turns: AtomicU64::new(0),
            stir: Notify::new(),
            habit: Mutex::new(Habit {
                last: Instant::now(),
                streak: 0,
                needed: FEWEST_CALLS,
            }),
        }
    }

    /// A command was queued: the owner must attend to it, if it does not do so anyway.
    pub(super) fn call_owner(&self) {
        fence(SeqCst);
        if self.aside.load(SeqCst) {
            self.wanted.store(true, SeqCst);
            self.stir.notify_one();
            if let Some(owner) = self.owner.get() {
                owner.unpark();
            }
        }
    }

    /// As [`Helm::call_owner`], for a call whose caller will lead in a moment. If it does not, the owner sees to it at
    /// its next look.
    pub(super) fn expect_leader(&self) {
        fence(SeqCst);
        let free = self.aside.load(SeqCst) && self.turns.load(SeqCst).is_multiple_of(2);
        if !free || self.expected.swap(true, SeqCst) {
            self.call_owner();
        }
    }

    /// A call has ended, or needs a new connection: who leads may have to leave.
    pub(super) fn look(&self) {
        if !self.turns.load(Relaxed).is_multiple_of(2) || self.step_aside.load(Relaxed) {
            self.stir.notify_one();
        }
    }

    /// Runs the loop on the calling thread until `call` has ended, if that is possible, and for some milliseconds at
    /// most.
    pub(super) fn lead(&self, call: CallId, alone: impl Fn() -> bool) {
        // A runtime does not run inside another; and its upcalls must not wait for it.
        if Handle::try_current().is_ok() {
            return;
        }
        if !self.aside.load(SeqCst) {
            self.note_waiting(alone());
            return;
        }
        let left_clean = match self.seat.try_lock() {
            // Only the holder of the seat changes `aside`.
            Some(mut seat) if self.aside.load(SeqCst) => match &mut *seat {
                Some(seat) => self.lead_on(seat, call),
                None => return,
            },
            _ => false,
        };
        if !left_clean {
            self.call_owner();
        }
    }

    /// Whether the loop may be left unattended afterwards.
    fn lead_on(&self, seat: &mut Seat, call: CallId) -> bool {
        let _lead = Lead::begin(&self.turns);
        self.expected.store(false, SeqCst);
        let Seat {
            runtime,
            engine,
            inbox,
            stopped,
        } = seat;
        runtime.block_on(async {
            // What happened to idle connections meanwhile must be known before one is used.
            yield_now().await;
            while let Ok(command) = inbox.try_recv() {
                *stopped |= matches!(command, Command::Stop);
                attend(engine, command);
            }
            loop {
                if *stopped || self.wanted.load(SeqCst) {
                    return false;
                }
                if !engine.has(call) {
                    return engine.active() == 0;
                }
                if engine.active() > 1 || engine.connects() {
                    return false;
                }
                self.stir.notified().await;
            }
        })
    }

    /// A caller waits for its call while the owner runs the loop.
    fn note_waiting(&self, alone: bool) {
        let now = Instant::now();
        let mut habit = self.habit.lock();
        let soon = now.saturating_duration_since(habit.last) < LOOK;
        habit.last = now;
        habit.streak = if alone && soon { habit.streak + 1 } else { 0 };
        if habit.streak >= habit.needed {
            habit.streak = 0;
            self.step_aside.store(true, Relaxed);
        }
    }

    /// On the owner: runs the loop, or watches callers run it, until a stop; gives the seat back.
    pub(super) fn run(&self, seat: Seat) -> Option<Seat> {
        let _ = self.owner.set(thread::current());
        let mut held = self.seat.lock();
        let seat = held.insert(seat);
        let mut stopped = self.own(seat);
        while !stopped {
            drop(held);
            self.watch();
            held = self.seat.lock();
            self.aside.store(false, SeqCst);
            self.wanted.store(false, SeqCst);
            self.expected.store(false, SeqCst);
            stopped = match &mut *held {
                Some(seat) => self.own(seat),
                None => true,
            };
        }
        held.take()
    }

    /// Runs the loop; true after a stop, false if callers may run it.
    fn own(&self, seat: &mut Seat) -> bool {
        let Seat {
            runtime,
            engine,
            inbox,
            stopped,
        } = seat;
        while !*stopped {
            *stopped = runtime.block_on(self.turn(engine, inbox));
            if !*stopped {
                self.step_aside.store(false, Relaxed);
                self.wanted.store(false, SeqCst);
                self.aside.store(true, SeqCst);
                fence(SeqCst);
                if inbox.is_empty() {
                    return false;
                }
                self.aside.store(false, SeqCst);
            }
        }
        true
    }

    /// As [`Helm::own`].
    async fn turn(&self, engine: &Arc<Engine>, inbox: &mut UnboundedReceiver<Command>) -> bool {
        let mut stirred = pin!(self.stir.notified());
        loop {
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    None | Some(Command::Stop) => return true,
                    Some(command) => attend(engine, command),
                },
                () = &mut stirred => {
                    if self.step_aside.load(Relaxed) && engine.active() == 0 {
                        return false;
                    }
                    stirred.set(self.stir.notified());
                }
            }
        }
    }

    /// On the owner: returns when it shall run the loop again.
    fn watch(&self) {
        let began = self.turns.load(SeqCst);
        let mut seen = began;
        loop {
            let until = Instant::now() + LOOK;
            while !self.wanted.load(SeqCst) {
                match until.checked_duration_since(Instant::now()) {
                    Some(rest) if !rest.is_zero() => thread::park_timeout(rest),
                    _ => break,
                }
            }
            let now = self.turns.load(SeqCst);
            if self.wanted.load(SeqCst) || now == seen {
                break;
            }
            seen = now;
        }
        // A caller that leads leaves.
        self.wanted.store(true, SeqCst);
        self.stir.notify_one();
        let leads = self.turns.load(SeqCst).wrapping_sub(began) / 2;
        let mut habit = self.habit.lock();
        habit.needed = match leads > 4 * habit.needed {
            true => (habit.needed / 2).max(FEWEST_CALLS),
            false => (habit.needed * 2).min(MOST_CALLS),
        };
    }
}

/// A bug of ours costs one command, never the loop.
pub(super) fn attend(engine: &Arc<Engine>, command: Command) {
    let _ = catch_unwind(AssertUnwindSafe(|| engine.dispatch(command)));
}

/// A caller leads, until it is dropped.
struct Lead<'a>(&'a AtomicU64);

impl<'a> Lead<'a> {
    fn begin(turns: &'a AtomicU64) -> Self {
        turns.fetch_add(1, SeqCst);
        Self(turns)
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, SeqCst);
    }
}
