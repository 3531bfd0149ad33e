//! The queue with threads that are only claimed to be there.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use super::parked::Parked;
use super::place::PLACE;
use super::pressure::STUCK;
use super::queue::{Settings, begin_leading};
use super::{Loops, Mode, Pushed, WorkQueue, note_direct_work};
use crate::sync::Instant;

impl<T> WorkQueue<T> {
    /// How many threads are parked.
    pub(in crate::server) fn parked(&self) -> usize {
        self.inner.lock().parked.len()
    }
}

fn queue() -> WorkQueue<()> {
    queue_that(true)
}

fn queue_that(spills: bool) -> WorkQueue<()> {
    WorkQueue::new(Settings {
        mode: Mode::Pull,
        limit: 10,
        threads: 0,
        kept: 1,
        keep_alive: Duration::from_secs(60),
        spills,
    })
}

fn push(queue: &WorkQueue<()>) -> Result<Pushed, ()> {
    queue.push(Instant::now(), ())
}

/// A parked entry without a thread of its own.
fn parked() -> Arc<Parked> {
    Arc::new(Parked::here())
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

/// As if its threads had done nothing but slow work.
fn rest(queue: &WorkQueue<()>) {
    let mut inner = queue.inner.lock();
    while !inner.rest.is_on() {
        inner.rest.note(Duration::from_secs(1));
    }
}

#[test]
fn work_that_comes_while_threads_rest_wakes_none_and_needs_help_at_once() {
    let queue = queue();
    let parked = parked();
    queue.inner.lock().parked.push(parked.clone());
    rest(&queue);
    assert_eq!(push(&queue).ok(), Some(Pushed::Starved));
    assert!(!parked.has_been_woken());
    assert!(queue.pressure(true).unwrap().needs_help());
    queue.inner.lock().rest.note(Duration::ZERO);
    assert!(push(&queue).is_ok());
    assert!(parked.has_been_woken());
}

#[test]
fn a_thread_that_runs_a_loop_when_others_begin_to_rest_lets_go_of_it() {
    let queue = queue();
    let own = Parked::this();
    queue.inner.lock().leading.push(own.clone());
    rest(&queue);
    assert!(push(&queue).is_ok());
    assert!(own.has_been_woken());
}

#[test]
fn a_thread_that_rests_runs_no_loop() {
    for resting in [false, true] {
        let (queue, loops) = (queue(), Loops::with_a_free_one());
        if resting {
            rest(&queue);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| queue.take(&loops));
            let leads = loop {
                let inner = queue.inner.lock();
                if inner.leading.len() + inner.parked.len() == 1 {
                    break !inner.leading.is_empty();
                }
                drop(inner);
                std::thread::yield_now();
            };
            queue.shut();
            assert_eq!(leads, !resting);
        });
    }
}

#[test]
fn only_threads_that_others_can_stand_in_for_rest_and_only_work_from_the_queue_is_measured() {
    for (spills, direct) in [(true, false), (true, true), (false, false)] {
        let queue = queue_that(spills);
        let loops = Loops::watching(0);
        for _ in 0..20 {
            assert!(push(&queue).is_ok());
            assert!(queue.take(&loops).is_some());
            if direct {
                note_direct_work();
            }
            std::thread::sleep(STUCK);
        }
        assert!(push(&queue).is_ok());
        assert!(queue.take(&loops).is_some());
        assert_eq!(queue.inner.lock().rest.is_on(), spills && !direct);
    }
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
    queue.inner.lock().leading.push(own.clone());
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
            let _fallen = begin_leading(&queue.inner, inner, &own);
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
            spills: false,
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
            assert_eq!(left, 2);
        });
    }
}
