//! The queue with threads that are only claimed to be there.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::leader::Loops;
use super::parked::Parked;
use super::place::PLACE;
use super::pressure::{CHECK_EVERY, STUCK};
use super::queue::{Settings, WorkQueue};
use super::{Mode, Pushed, note_direct_work};
use crate::sync::Instant;

impl<T: Send + 'static> WorkQueue<T> {
    /// The queue of a server that has only one.
    pub(super) fn new(settings: Settings) -> Self {
        Self::of(1, settings).next().unwrap()
    }

    /// As if one more thread had been parked, and were on its way.
    pub(in crate::server) fn claim_a_woken_thread(&self) {
        let mut inner = self.inner.lock();
        inner.crew.threads += 1;
        inner.waking = true;
    }
}

fn queue() -> WorkQueue<()> {
    WorkQueue::new(Settings {
        mode: Mode::Pull,
        limit: 10,
        threads: 0,
        kept: 1,
        keep_alive: Duration::from_secs(60),
    })
}

fn push(queue: &WorkQueue<()>) -> Result<Pushed, ()> {
    queue.push(Instant::now(), ())
}

/// A parked entry without a thread of its own.
fn parked() -> Arc<Parked> {
    Arc::new(Parked::here())
}

fn teams(teams: usize, limit: usize, threads: usize) -> Vec<WorkQueue<u32>> {
    let settings = Settings {
        mode: Mode::Pull,
        limit,
        threads,
        kept: 1,
        keep_alive: Duration::from_secs(60),
    };
    WorkQueue::of(teams, settings).collect()
}

#[test]
fn a_thread_takes_its_own_teams_work_first_and_then_the_oldest_of_the_others() {
    let queues = teams(3, 10, 0);
    let begin = Instant::now();
    for (team, item) in [(0, 3), (1, 2), (1, 4), (1, 5), (2, 9)] {
        let since = begin + Duration::from_secs(item.into());
        assert!(queues[team].push(since, item).is_ok());
    }
    let taken = (0..5).map(|_| queues[2].take(&Loops::watching(0)).unwrap());
    assert_eq!(taken.collect::<Vec<_>>(), [9, 2, 3, 4, 5]);
}

#[test]
fn work_that_a_thread_of_the_team_will_take_is_neither_taken_by_others_nor_handed_over() {
    let queues = teams(2, 10, 0);
    queues[0].inner.lock().parked.push(parked());
    for (team, item) in [(0, 1), (1, 2)] {
        assert!(queues[team].push(Instant::now(), item).is_ok());
    }
    let served = |queue: &WorkQueue<u32>| queue.peers.steal(false);
    assert_eq!(served(&queues[0]), Some(2));
    assert_eq!(served(&queues[1]), None);
    assert!(queues[1].push(Instant::now(), 3).is_ok());
    std::thread::sleep(CHECK_EVERY);
    assert!(queues[1].drain_surplus().is_empty(), "a call is no need");
    assert_eq!(queues[1].wake_parked_others(1), 0);
    let surplus: Vec<_> = queues.iter().flat_map(WorkQueue::drain_surplus).collect();
    assert_eq!(surplus, [3]);
}

#[test]
fn what_a_turn_brings_for_another_team_wakes_a_thread_of_that_team() {
    let queues = teams(2, 10, 0);
    let (own, other) = (Parked::this(), parked());
    queues[0].inner.lock().crew.awake = 1;
    std::mem::forget(queues[0].begin_leading(queues[0].inner.lock(), &own));
    queues[1].inner.lock().parked.push(other.clone());
    assert!(queues[0].push(Instant::now(), 1).is_ok());
    assert!(Parked::is_this_woken(queues[0].inner.lock().address()));
    // As a sweep does that closes connections of all loops.
    assert_eq!(queues[1].push(Instant::now(), 2).ok(), Some(Pushed::Served));
    assert!(other.has_been_woken());
    assert_eq!(
        queues[1].push(Instant::now(), 3).ok(),
        Some(Pushed::Starved)
    );
    own.reset();
}

#[test]
fn a_call_is_over_once_nothing_is_queued_however_it_was_taken() {
    let queues = teams(2, 10, 0);
    let (own, other) = (&queues[0], &queues[1]);
    let push = || {
        assert!(!other.peers.are_calling());
        assert!(own.push(Instant::now(), 1).is_ok());
        assert!(other.peers.are_calling());
    };
    for queue in [own, other] {
        push();
        assert_eq!(queue.take(&Loops::watching(0)), Some(1));
    }
    push();
    assert_eq!(own.drain(), [1]);
    push();
    own.wake_parked_others(1);
    assert_eq!(own.drain_surplus(), [1]);
    assert!(!other.peers.are_calling());
}

#[test]
fn work_is_refused_only_when_all_room_is_used_whichever_teams_threads_took_what() {
    let (limit, threads) = (1000, 24);
    let queues = Arc::new(teams(3, limit, threads));
    for round in 0..20 {
        // By turns: one team's loops bring everything, or all the same.
        let team = |i: usize| if round % 2 == 0 { i % 3 } else { round % 3 };
        for i in 0..limit + threads {
            assert!(queues[team(i)].push(Instant::now(), 1).is_ok(), "{round}");
        }
        for queue in &*queues {
            assert!(queue.push(Instant::now(), 1).is_err());
        }
        let taking = queues.clone();
        let taker = std::thread::spawn(move || {
            let own = &taking[(round + 1) % 3];
            let taken = (0..limit).map_while(|_| own.take(&Loops::watching(0)));
            assert_eq!(taken.count(), limit);
        });
        taker.join().unwrap();
        let rest: usize = queues.iter().map(|queue| queue.drain().len()).sum();
        assert_eq!(rest, threads);
    }
}

#[test]
fn as_many_threads_are_kept_by_all_teams_as_by_one() {
    for kept in [0, 1, 15, 16, 17, usize::MAX] {
        let settings = Settings {
            mode: Mode::Pull,
            limit: 1,
            threads: 1,
            kept,
            keep_alive: Duration::ZERO,
        };
        let shares = (0..3).map(|team| settings.share(team, 3).kept);
        assert_eq!(shares.sum::<usize>(), kept);
    }
}

#[test]
fn threads_that_have_yet_to_come_are_not_taken_for_stuck() {
    let queue = queue();
    assert!(push(&queue).is_ok());
    assert!(!queue.pressure(true).unwrap().all_busy);
    queue.inner.lock().crew.threads = 1;
    assert!(!queue.pressure(true).unwrap().all_busy, "it looks for work");
    queue.inner.lock().crew.busy = 1;
    assert!(queue.pressure(true).unwrap().all_busy);
}

#[test]
fn work_beyond_the_parked_threads_is_reported_while_one_of_them_wakes() {
    let queue = queue();
    // One thread is parked, and does not get to run between the two pushes.
    queue.inner.lock().parked.push(parked());
    assert_eq!(push(&queue).ok(), Some(Pushed::Served));
    assert_eq!(push(&queue).ok(), Some(Pushed::Starved));
}

#[test]
fn work_that_is_left_behind_wakes_a_thread_that_runs_a_loop_if_no_loop_stands_still() {
    for standing_still in [0, 1] {
        let queue = queue();
        let other = parked();
        queue.inner.lock().leading.push(other.clone());
        // This thread has been woken, but has not arrived yet.
        queue.inner.lock().waking = true;
        assert!(push(&queue).is_ok());
        assert!(push(&queue).is_ok());
        queue.inner.lock().waking = false;
        let loops = Loops::watching(1 + standing_still);
        assert!(queue.take(&loops).is_some());
        assert_eq!(other.has_been_woken(), standing_still == 0);
    }
}

#[test]
fn a_thread_that_took_its_work_while_a_loop_was_led_is_not_taken_for_stuck() {
    let queue = queue();
    for before in [0, 1] {
        // An earlier date, or none.
        for watched in [before, 1] {
            assert!(push(&queue).is_ok());
            assert!(queue.take(&Loops::watching(watched)).is_some());
        }
        assert!(push(&queue).is_ok());
        let pressure = queue.pressure(false).unwrap();
        assert!(pressure.all_busy && pressure.quiet.is_zero());
        assert!(!queue.pressure(true).unwrap().quiet.is_zero());
        queue.drain();
    }
}

#[test]
fn work_behind_that_of_a_woken_thread_needs_help_at_once_while_all_others_are_stuck() {
    let queue = queue();
    // Not old, however slow this thread is.
    let fresh = Instant::now() + Duration::from_secs(3600);
    assert!(push(&queue).is_ok());
    assert!(queue.take(&Loops::watching(0)).is_some());
    std::thread::sleep(STUCK);
    let mut inner = queue.inner.lock();
    inner.crew.threads = 2;
    inner.parked.push(parked());
    drop(inner);
    assert!(queue.push(fresh, ()).is_ok());
    assert!(!queue.pressure(true).unwrap().needs_help(), "it comes");
    assert!(queue.push(fresh, ()).is_ok());
    let pressure = queue.pressure(true).unwrap();
    assert!(pressure.needs_help());
    assert_eq!(pressure.waiting, 1, "besides its own");
    assert_eq!(queue.drain_surplus().len(), 1);
    assert!(
        !queue.pressure(true).unwrap().needs_help(),
        "it still comes"
    );
}

#[test]
fn work_behind_that_of_a_woken_thread_needs_no_help_at_once_while_none_is_busy() {
    let queue = queue();
    let fresh = Instant::now() + Duration::from_secs(3600);
    let mut inner = queue.inner.lock();
    inner.crew.threads = 1;
    inner.parked.push(parked());
    drop(inner);
    for _ in 0..2 {
        assert!(queue.push(fresh, ()).is_ok());
    }
    let pressure = queue.pressure(true).unwrap();
    assert!(pressure.quiet >= STUCK, "nothing was ever taken");
    assert!(!pressure.needs_help());
}

#[test]
fn nothing_is_left_for_a_woken_thread_that_does_not_come_in_time() {
    let queue = queue();
    queue.inner.lock().parked.push(parked());
    assert!(push(&queue).is_ok());
    std::thread::sleep(CHECK_EVERY);
    assert_eq!(queue.drain_surplus().len(), 1);
}

#[test]
fn nothing_is_left_for_a_woken_thread_once_the_queue_is_shut() {
    let queue = queue();
    queue.inner.lock().parked.push(parked());
    assert!(push(&queue).is_ok());
    queue.shut();
    assert_eq!(queue.drain_surplus().len(), 1);
}

#[test]
fn after_nothing_but_slow_work_no_thread_leads_until_a_piece_was_short() {
    for direct in [false, true] {
        let (queue, loops) = (queue(), Loops::watching(0));
        let slow = || {
            assert!(push(&queue).is_ok());
            assert!(queue.take(&loops).is_some());
            if direct {
                note_direct_work();
            }
            std::thread::sleep(STUCK);
        };
        for _ in 0..20 {
            slow();
        }
        loops.set_free();
        assert_eq!(loops.try_lead().is_some(), direct);
    }
    let loops = Loops::default();
    loops.set_free();
    for _ in 0..20 {
        loops.note_worked(STUCK);
    }
    loops.note_worked(Duration::ZERO);
    assert!(loops.try_lead().is_some());
}

#[test]
fn a_woken_thread_whose_loop_is_held_up_keeps_no_other_asleep() {
    let queue = queue();
    let (held_up, parked) = (parked(), parked());
    queue.inner.lock().leading.push(held_up.clone());
    assert_eq!(
        push(&queue).ok(),
        Some(Pushed::Starved),
        "it may not come soon"
    );
    assert!(held_up.has_been_woken());
    queue.inner.lock().parked.push(parked.clone());
    assert!(push(&queue).is_ok());
    assert!(parked.has_been_woken());
}

#[test]
fn what_a_turn_brings_wakes_the_thread_that_runs_it_once_and_no_other() {
    let queue = queue();
    let (own, parked) = (Parked::this(), parked());
    queue.inner.lock().crew.awake = 1;
    std::mem::forget(queue.begin_leading(queue.inner.lock(), &own));
    queue.inner.lock().parked.push(parked.clone());
    assert_eq!(push(&queue).ok(), Some(Pushed::Served));
    assert_eq!(push(&queue).ok(), Some(Pushed::Served), "both can take one");
    assert_eq!(push(&queue).ok(), Some(Pushed::Starved));
    assert!(own.has_been_woken() && !parked.has_been_woken());
}

#[test]
fn a_thread_that_runs_a_loop_is_woken_only_for_work_that_no_parked_thread_can_take() {
    let queue = queue();
    let (leading, parked) = (parked(), parked());
    queue.inner.lock().leading.push(leading.clone());
    queue.wake_for_loop();
    assert!(!leading.has_been_woken(), "it has a loop");
    queue.inner.lock().parked.push(parked.clone());
    assert!(push(&queue).is_ok());
    assert!(parked.has_been_woken() && !leading.has_been_woken());
    queue.inner.lock().parked.push(parked.clone());
    queue.wake_for_loop();
    assert!(parked.has_been_woken(), "a loop is free");
    queue.inner.lock().waking = false;
    queue.wake_for_work();
    assert!(leading.has_been_woken(), "no other thread is there");
}

#[test]
fn a_thread_whose_loop_panics_is_counted_as_before() {
    for woken in [false, true] {
        let queue = queue();
        let own = Parked::this();
        let inner = PLACE.with_borrow_mut(|place| place.enter(&queue.inner));
        let panics = std::panic::AssertUnwindSafe(|| {
            let _fallen = queue.begin_leading(inner, &own);
            if woken {
                assert!(push(&queue).is_ok());
            }
            panic!("in a turn");
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        let inner = queue.inner.lock();
        assert_eq!(
            (inner.crew.awake, inner.crew.threads, inner.crew.busy),
            (1, 1, 0)
        );
        assert!(inner.leading.is_empty() && !inner.waking && !own.has_been_woken());
    }
}

#[test]
fn of_threads_that_are_idle_at_the_same_time_only_those_beyond_the_kept_leave() {
    const THREADS: usize = 6;
    for _ in 0..200 {
        let queue = WorkQueue::<()>::new(Settings {
            mode: Mode::Pull,
            limit: 10,
            threads: 0,
            kept: 2,
            keep_alive: Duration::from_millis(1),
        });
        let loops = Loops::watching(0);
        let (together, ended) = (Barrier::new(THREADS), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    together.wait();
                    queue.take(&loops);
                    ended.fetch_add(1, SeqCst);
                });
            }
            let left = loop {
                let inner = queue.inner.lock();
                let threads = inner.crew.threads;
                let all_have_come = ended.load(SeqCst) + threads == THREADS;
                if all_have_come && threads <= 2 && inner.parked.len() == threads {
                    break threads;
                }
                drop(inner);
                std::thread::yield_now();
            };
            queue.shut();
            queue.wake_all();
            assert_eq!(left, 2);
        });
    }
}
