//! Whether the threads that pull work get through it, and who calls for help when they do not.
//!
//! Work that waits while every thread is stuck in a blocking handler must get another thread at once: what a
//! timer would add to it is many times what a short handler takes. A queue that is long because there is much to do
//! is no reason: more threads would not make short handlers any faster.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::queue::Mode;
use super::shared::Shared;
use super::sink::Notice;

/// Work that takes longer than this on average is worth a switch of threads.
pub(super) const SHORT: Duration = Duration::from_micros(100);
/// Threads that have been busy for so long, all of them and each with one piece of work, are stuck.
const STUCK: Duration = Duration::from_micros(200);
/// How often the queue is looked at while work waits; and so long it may wait for a thread that is on its way.
const TICK: Duration = Duration::from_millis(1);
/// How long [`attend`] rests after a panic.
const PANIC_REST: Duration = Duration::from_millis(10);

/// How a queue stands in which work waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pressure {
    /// Items that wait.
    pub(super) waiting: usize,
    /// Age of the oldest of them.
    pub(super) oldest: Duration,
    /// Items that threads have taken since that came.
    pub(super) overtaken: u64,
    /// Threads that have taken work and not come back, and whether there are no others.
    pub(super) busy: usize,
    pub(super) all_busy: bool,
    /// Since the last of them took its work.
    pub(super) quiet: Duration,
}

impl Pressure {
    /// Whether other threads are needed for what waits.
    fn needs_help(&self) -> bool {
        if self.all_busy && self.quiet >= STUCK {
            return true;
        }
        let patience = if self.all_busy { STUCK } else { TICK };
        // Threads at short work would have taken so many meanwhile. None at work at all means that those
        // which were called do not come.
        let busy = u32::try_from(self.busy).unwrap_or(u32::MAX).max(1);
        let overtaken = u32::try_from(self.overtaken).unwrap_or(u32::MAX);
        self.oldest >= patience
            && SHORT.saturating_mul(overtaken) < self.oldest.saturating_mul(busy)
    }
}

/// Keeps [`attend`] going: a panic in an upcall must not end all further ones.
pub(super) async fn keep_attending(shared: Arc<Shared>) {
    while tokio::spawn(attend(shared.clone()))
        .await
        .is_err_and(|e| e.is_panic())
    {
        shared.notice(Notice::LoopError("an upcall panicked".into()));
        sleep(PANIC_REST).await;
    }
}

/// Looks after the queue and makes the upcalls that came up under a lock.
async fn attend(shared: Arc<Shared>) {
    match shared.queue.mode() {
        Mode::Push => push_on(&shared).await,
        Mode::Pull => call_for_help(&shared).await,
    }
}

/// Hands over what each turn of the loop brings.
async fn push_on(shared: &Arc<Shared>) {
    loop {
        shared.make_deferred_upcalls();
        let work = shared.queue.drain();
        if !work.is_empty() {
            shared.sink.on_work(work);
        }
        shared.attention.notified().await;
    }
}

/// Calls for help when threads do not get through what waits.
async fn call_for_help(shared: &Arc<Shared>) {
    let mut tick = pin!(sleep(TICK));
    let mut ticking = false;
    let mut waits = false;
    // Help was called for what still waits: it needs time to come.
    let mut called = false;
    loop {
        shared.make_deferred_upcalls();
        // Workers that run loops come back to the queue by themselves, at the end of each turn: a look now and
        // then is enough. When the loops' own threads run them, each turn that brings more than parked threads
        // can take ends with a look.
        let at_once = !called && shared.leads.watched() == 0;
        if !waits || !ticking || at_once {
            let pressure = shared.queue.pressure();
            waits = pressure.is_some();
            called = false;
            if let Some(pressure) = pressure
                && pressure.needs_help()
            {
                shared.sink.on_starved(pressure.waiting);
                waits = shared.queue.pressure().is_some();
                called = waits;
            }
        }
        if waits && !ticking {
            tick.as_mut().reset(Instant::now() + TICK);
            ticking = true;
        }
        tokio::select! {
            biased;
            () = &mut tick, if ticking => ticking = false,
            () = shared.attention.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Weak, mpsc};
    use std::task::{Context, Waker};

    use parking_lot::Mutex;

    use super::super::queue::Work;
    use super::super::queue::tests::{config, works_of};
    use super::super::{Address, Server, Sink};
    use super::*;

    /// Two threads that took their work just now, while one item waits that has come since.
    const BUSY: Pressure = Pressure {
        waiting: 1,
        oldest: Duration::ZERO,
        overtaken: 0,
        busy: 2,
        all_busy: true,
        quiet: Duration::ZERO,
    };

    #[test]
    fn work_that_comes_while_all_threads_are_stuck_needs_help_at_once() {
        let stuck = Pressure {
            quiet: STUCK,
            ..BUSY
        };
        assert!(stuck.needs_help());
        let one_is_free = Pressure {
            busy: 1,
            all_busy: false,
            ..stuck
        };
        assert!(!one_is_free.needs_help(), "it has been woken");
    }

    #[test]
    fn threads_at_short_work_need_no_help_however_long_the_queue_is() {
        for millis in [0, 1, 10, 100, 1000] {
            let oldest = Duration::from_millis(millis);
            let short = Pressure {
                waiting: 100_000,
                oldest,
                overtaken: millis * 20,
                ..BUSY
            };
            assert!(!short.needs_help(), "{short:?}");
        }
    }

    #[test]
    fn threads_that_are_slow_need_help_although_each_gets_on() {
        let slow = Pressure {
            oldest: STUCK,
            overtaken: 3,
            ..BUSY
        };
        assert!(slow.needs_help());
        let fast = Pressure {
            overtaken: 4,
            ..slow
        };
        assert!(!fast.needs_help());
    }

    #[test]
    fn a_woken_thread_that_does_not_come_is_not_waited_for_longer_than_a_tick() {
        let woken = Pressure {
            oldest: TICK,
            busy: 0,
            all_busy: false,
            ..BUSY
        };
        assert!(woken.needs_help());
        let soon = Pressure {
            oldest: TICK / 2,
            ..woken
        };
        assert!(!soon.needs_help());
    }

    /// Counts the calls for help; takes away what waits then, if that is known.
    #[derive(Debug, Default)]
    struct Calls {
        count: AtomicUsize,
        server: Mutex<Weak<Server>>,
    }

    impl Sink for Calls {
        fn on_work(&self, _: Vec<Work>) {}
        fn on_starved(&self, _: usize) {
            self.count.fetch_add(1, Ordering::SeqCst);
            if let Some(server) = self.server.lock().upgrade() {
                server.spill();
            }
        }
        fn on_drained(&self, _: i64) {}
        fn on_closing(&self, _: i64, _: i32, _: &str) {}
        fn on_notice(&self, _: Notice) {}
    }

    #[test]
    fn the_turn_that_brings_work_while_all_threads_are_stuck_calls_for_help() {
        let calls = Arc::new(Calls::default());
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        let server = Arc::new(Server::bind(&address, config(), calls.clone()).unwrap());
        *calls.server.lock() = Arc::downgrade(&server);
        let work = works_of(&server);
        let shared = &server.shared;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let mut attendant = pin!(call_for_help(shared));
        // No time passes on the runtime's clock between these, which never runs.
        let mut turn = || {
            let waiting = attendant
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            assert!(waiting.is_pending());
            calls.count.load(Ordering::SeqCst)
        };
        assert_eq!(turn(), 0, "nothing waits");
        let (took, taken) = mpsc::channel();
        std::thread::scope(|scope| {
            let mut held = Vec::new();
            for _ in 0..2 {
                let (release, released) = mpsc::channel::<()>();
                let (server, took) = (&server, took.clone());
                scope.spawn(move || {
                    took.send(server.take()).unwrap();
                    let _ = released.recv();
                });
                held.push(release);
            }
            for _ in 0..2 {
                shared.offer(work());
            }
            for _ in 0..2 {
                taken.recv().unwrap();
            }
            std::thread::sleep(STUCK);
            for so_far in 0..3 {
                shared.offer(work());
                assert_eq!(turn(), so_far + 1);
            }
            *calls.server.lock() = Weak::new();
            shared.offer(work());
            assert_eq!(turn(), 4);
            shared.offer(work());
            assert_eq!(turn(), 4, "help is on its way");
        });
    }
}
