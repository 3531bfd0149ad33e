//! Whether a worker that also runs loops keeps up: its work may be slow, it may be stuck, or the machine is busy.
//!
//! A clock says how long something took, not why. A turn of a loop may bring several hundred short pieces of work, and
//! where threads share a processor, each of them seems slow now and then: neither is a reason to take a loop away from
//! a worker. So a worker counts what it takes, and the kernel is asked before a thread is called stuck.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Instant, scheduled, thread_local};

/// Work that takes longer than this on average is worth a context switch.
pub(super) const SHORT_TASK: Duration = Duration::from_micros(100);
/// A loop that stands still for this long is taken back by its own thread.
pub(super) const STALL_LIMIT: Duration = Duration::from_millis(2);
/// How long it may stand still while its worker only waits for a processor. Another thread would have to wait as well:
/// taking the loop away would only add thread switches.
const WAIT_LIMIT: Duration = Duration::from_millis(20);
/// Slow turns in a row before workers back off: a single one may be a thread that was not scheduled.
const SLOW_TURNS: u32 = 3;

thread_local! {
    static SINCE: RefCell<Option<Since>> = const { RefCell::new(None) };
    /// Slow turns in a row.
    static SLOW: Cell<u32> = const { Cell::new(0) };
}

/// How a loop's workers are doing, as its own thread sees it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Counts each start and end of a worker's run: odd while one runs the loop. It tells the owner a loop that stands
    /// still from one that is run again and again. A loop that is being run is never taken back, however long that
    /// takes: it is waiting for sockets.
    pub(super) turns: AtomicU64,
    /// The worker that ran it last.
    pub(super) leader: AtomicU32,
    /// How much work those have taken that ran it last.
    taken: AtomicU32,
}

/// What this thread has done since it last stopped running a loop.
struct Since {
    progress: Arc<Progress>,
    at: Instant,
    /// How much work it has taken.
    taken: u32,
}

/// This thread has run the loop of this progress and stops.
pub(super) fn note_stopped(progress: &Arc<Progress>) {
    let since = Since {
        progress: progress.clone(),
        at: Instant::now(),
        taken: 0,
    };
    SINCE.with(|cell| cell.replace(Some(since)));
}

/// This thread has taken a piece of work.
pub(super) fn note_taken() {
    SINCE.with(|cell| {
        if let Some(since) = &mut *cell.borrow_mut() {
            since.taken += 1;
            since.progress.taken.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Forgets what this thread has done, which says nothing about its next work.
pub(super) fn forget() {
    SINCE.with(|cell| cell.replace(None));
}

/// Whether this thread's work between its runs of a loop is slow. The kernel is not asked here: that takes longer than
/// a short turn.
pub(super) fn is_slow() -> bool {
    let Some(since) = SINCE.with(|cell| cell.replace(None)) else {
        return false;
    };
    let in_a_row = match since.at.elapsed() > SHORT_TASK * since.taken.max(1) {
        true => SLOW.with(Cell::get) + 1,
        false => 0,
    };
    SLOW.with(|slow| slow.set(in_a_row % SLOW_TURNS));
    in_a_row == SLOW_TURNS
}

/// What its owner has seen of a loop that workers run, since a worker last began or stopped.
pub(super) struct Pause {
    pub(super) turns: u64,
    pub(super) since: Instant,
    /// The loop's count then.
    taken: u32,
    /// How long the worker had had a processor at the last look; there is none before the pause is long.
    worked: Option<Duration>,
}

impl Pause {
    pub(super) fn of(progress: &Progress) -> Self {
        Self {
            turns: progress.turns.load(Ordering::SeqCst),
            since: Instant::now(),
            taken: progress.taken.load(Ordering::Relaxed),
            worked: None,
        }
    }

    pub(super) fn is_long(&self) -> bool {
        self.since.elapsed() >= STALL_LIMIT
    }

    /// Whether the pause is no longer than the work that was taken in it explains.
    pub(super) fn is_progress(&self, progress: &Progress) -> bool {
        let taken = progress.taken.load(Ordering::Relaxed);
        SHORT_TASK.saturating_mul(taken.wrapping_sub(self.taken)) >= self.since.elapsed()
    }

    /// Whether the worker is not blocked and does not compute either: it waits for a processor.
    pub(super) fn is_for_a_processor(&mut self, progress: &Progress) -> bool {
        let leader = progress.leader.load(Ordering::Relaxed);
        let Some(schedule) = scheduled::of(leader) else {
            return false;
        };
        let before = self.worked.replace(schedule.worked);
        let worked = before.map_or(Duration::ZERO, |before| {
            schedule.worked.saturating_sub(before)
        });
        schedule.runnable && worked < STALL_LIMIT / 2 && self.since.elapsed() < WAIT_LIMIT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_short_work_is_progress_and_one_long_piece_is_none() {
        let progress = Progress::default();
        let pause = Pause::of(&progress);
        std::thread::sleep(STALL_LIMIT);
        assert!(pause.is_long());
        progress.taken.store(1, Ordering::Relaxed);
        assert!(!pause.is_progress(&progress));
        progress.taken.store(u32::MAX, Ordering::Relaxed);
        assert!(pause.is_progress(&progress));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_worker_that_is_blocked_or_computes_has_no_excuse() {
        let progress = Progress::default();
        let computing = scheduled::this();
        std::thread::scope(|scope| {
            let (told, id) = std::sync::mpsc::channel();
            let blocked = scope.spawn(move || {
                told.send(scheduled::this()).unwrap();
                std::thread::park();
            });
            let id = id.recv().unwrap();
            while scheduled::of(id).unwrap().runnable {
                std::thread::yield_now();
            }
            progress.leader.store(id, Ordering::Relaxed);
            assert!(!Pause::of(&progress).is_for_a_processor(&progress));
            blocked.thread().unpark();
        });
        progress.leader.store(computing, Ordering::Relaxed);
        let mut pause = Pause::of(&progress);
        let before = scheduled::of(computing).unwrap().worked;
        // The first look cannot tell computing from waiting. `WAIT_LIMIT` ends this as well.
        while pause.is_for_a_processor(&progress) {
            let look = Instant::now();
            while look.elapsed() < STALL_LIMIT {
                std::hint::spin_loop();
            }
        }
        let worked = scheduled::of(computing).unwrap().worked - before;
        assert!(worked >= STALL_LIMIT / 2 || pause.since.elapsed() >= WAIT_LIMIT);
    }

    #[test]
    fn a_worker_of_which_nothing_is_known_has_no_excuse() {
        let progress = Progress::default();
        assert!(!Pause::of(&progress).is_for_a_processor(&progress));
    }
}
