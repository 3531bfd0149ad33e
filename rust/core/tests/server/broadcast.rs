use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, ThreadId};
use std::time::Duration;

use httpkit_core::server::{Mode, Notice, Sent};
use parking_lot::Mutex;

use crate::support::{Running, config, wait_until};

const CHANNELS: usize = 2000;

fn outcome(channel: usize) -> Sent {
    [Sent::Accepted, Sent::Closed, Sent::Full][channel % 3]
}

/// Threads that have come.
#[derive(Default)]
struct Meeting(Mutex<HashSet<ThreadId>>);

impl Meeting {
    /// Waits until this thread and others are here.
    fn attend(&self, expected: usize) {
        self.0.lock().insert(thread::current().id());
        wait_until("the others", || self.0.lock().len() >= expected);
    }
}

#[test]
fn each_loop_helps_and_each_channel_is_served_once() {
    let mut server = Running::start(config(Mode::Pull));
    server.run();
    let (_peer, any) = server.websocket(None);
    let served: Arc<Vec<AtomicUsize>> = Arc::new((0..CHANNELS).map(|_| 0.into()).collect());
    for _ in 0..3 {
        let (served, meeting) = (served.clone(), Meeting::default());
        let outcomes = any.broadcast(CHANNELS, move |channel| {
            meeting.attend(3);
            served[channel].fetch_add(1, Ordering::Relaxed);
            outcome(channel)
        });
        assert_eq!(outcomes, (0..CHANNELS).map(outcome).collect::<Vec<_>>());
    }
    assert!(served.iter().all(|n| n.load(Ordering::Relaxed) == 3));
}

#[test]
fn a_loop_that_is_held_up_does_not_hold_up_a_broadcast() {
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let any = server.pushed_request();
    server.hold_up(Duration::ZERO, || {
        let outcomes = any.broadcast(CHANNELS, outcome);
        assert_eq!(outcomes, (0..CHANNELS).map(outcome).collect::<Vec<_>>());
    });
}

#[test]
fn a_panic_while_a_loop_helps_ends_neither_the_broadcast_nor_its_help() {
    let server = Running::start(config(Mode::Pull));
    let (_peer, any) = server.websocket(None);
    let caller = thread::current().id();
    for round in 0..2 {
        let (panics, meeting) = (AtomicBool::new(true), Meeting::default());
        let outcomes = any.broadcast(CHANNELS, move |_| {
            meeting.attend(2);
            let is_another = thread::current().id() != caller;
            assert!(
                !is_another || !panics.swap(false, Ordering::Relaxed),
                "test"
            );
            Sent::Accepted
        });
        let lost = outcomes.iter().filter(|sent| **sent == Sent::Closed);
        assert!((1..CHANNELS / 2).contains(&lost.count()), "round {round}");
    }
    let is_report = |notice: &&Notice| matches!(notice, Notice::LoopError(what) if what == "a broadcast panicked");
    wait_until("both panics are reported", || {
        server.sink.notices.lock().iter().filter(is_report).count() == 2
    });
}

#[test]
fn a_broadcast_to_few_channels_is_made_by_its_caller_alone() {
    let server = Running::start(config(Mode::Pull));
    let (_peer, any) = server.websocket(None);
    let caller = thread::current().id();
    for channels in [1023, 1, 0] {
        let outcomes = any.broadcast(channels, move |channel| {
            assert_eq!(thread::current().id(), caller);
            outcome(channel)
        });
        assert_eq!(outcomes.len(), channels);
    }
}
