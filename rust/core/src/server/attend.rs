//! The task that watches the queue and makes deferred upcalls: those that came up under a lock.

use std::pin::pin;
use std::sync::Arc;

use tokio::time::{Instant, sleep};

use super::exchange::Work;
use super::shared::Shared;
use super::work::pressure::CHECK_EVERY;
use super::work::{Mode, Team};

/// Watches a team's queue. The first team's attendant makes all deferred upcalls: some depend on their order.
#[derive(Debug, Clone, Copy)]
struct Attendant<'a> {
    shared: &'a Arc<Shared>,
    team: &'a Team<Work>,
    makes_upcalls: bool,
}

/// See [`Attendant`].
pub(super) async fn attend(shared: Arc<Shared>, team: usize) {
    let attendant = Attendant {
        shared: &shared,
        team: shared.teams.of_loop(team),
        makes_upcalls: team == 0,
    };
    match shared.config.mode {
        Mode::Push => attendant.push_on().await,
        Mode::Pull => attendant.call_for_help().await,
    }
}

impl Attendant<'_> {
    fn make_upcalls(self) {
        if self.makes_upcalls {
            self.shared.make_deferred_upcalls();
        }
    }

    /// Hands over the work of each turn of this team's only loop.
    async fn push_on(self) {
        loop {
            self.make_upcalls();
            let work = self.team.queue.drain();
            if !work.is_empty() {
                self.shared.sink.on_work(work);
            }
            self.team.attention.notified().await;
        }
    }

    /// Asks for help when threads do not keep up with queued work.
    async fn call_for_help(self) {
        let mut tick = pin!(sleep(CHECK_EVERY));
        let mut ticking = false;
        let mut waits = false;
        // Help has been asked for and work is still queued: help needs time to come.
        let mut called = false;
        loop {
            self.make_upcalls();
            // Workers that run loops return to the queue by themselves at the end of each turn, so a check now and then
            // is enough. When the loops' own threads run them, each turn that brings more work than parked threads can
            // take ends with a check.
            let led = self.team.loops.watched() > 0;
            let at_once = !called && !led;
            if !waits || !ticking || at_once {
                let pressure = self.team.queue.pressure(!led);
                waits = pressure.is_some();
                called = false;
                if let Some(pressure) = pressure
                    && pressure.needs_help()
                {
                    self.call(pressure.waiting.max(1));
                    // Not what a thread comes for that has been woken: the next turn may bring more.
                    let left = self.team.queue.pressure(!led);
                    waits = left.is_some();
                    called = left.is_some_and(|pressure| pressure.needs_help());
                }
            }
            if waits && !ticking {
                tick.as_mut().reset(Instant::now() + CHECK_EVERY);
                ticking = true;
            }
            tokio::select! {
                biased;
                () = &mut tick, if ticking => ticking = false,
                () = self.team.attention.notified() => {}
            }
        }
    }

    /// Calls parked threads of other teams, then the embedder, then threads that run other teams' loops.
    fn call(self, waiting: usize) {
        let woken = self.team.queue.wake_parked_others(waiting);
        if woken < waiting {
            self.shared.sink.on_starved(waiting - woken);
            self.team.queue.wake_leading_others(waiting - woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Weak, mpsc};
    use std::task::{Context, Waker};

    use parking_lot::Mutex;
    use tokio::runtime::{Builder, Runtime};

    use super::super::connection::Conn;
    use super::super::socket::split_unix;
    use super::super::work::pressure::STUCK;
    use super::super::{Address, Config, Exchange, Notice, Server, Sink, Work};
    use super::*;

    /// Counts the calls for help, and takes the queued work if it knows the server.
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
                server.push_surplus();
            }
        }
        fn on_drained(&self, _: i64, _: bool) {}
        fn on_body(&self, _: i64) {}
        fn on_closing(&self, _: i64, _: i32, _: &str) {}
        fn on_notice(&self, _: Notice) {}
    }

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Events of a connection that is none.
    fn works_of(server: &Server) -> impl Fn() -> Work + use<> {
        let runtime = runtime();
        let _entered = runtime.enter();
        let (stream, _) = tokio::net::UnixStream::pair().unwrap();
        let (_, write, ends) = split_unix(stream);
        let conn = Conn::new(server.shared.clone(), 0, write, ends);
        move || {
            Work::Events(Exchange {
                conn: conn.clone(),
                seq: 0,
            })
        }
    }

    #[test]
    fn the_turn_that_brings_work_while_all_threads_are_stuck_calls_for_help() {
        let calls = Arc::new(Calls::default());
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        let server = Arc::new(Server::bind(&address, Config::default(), calls.clone()).unwrap());
        *calls.server.lock() = Arc::downgrade(&server);
        let work = works_of(&server);
        let shared = &server.shared;
        let runtime = runtime();
        let _entered = runtime.enter();
        let attendant = Attendant {
            shared,
            team: shared.teams.of_loop(0),
            makes_upcalls: true,
        };
        let mut attendant = pin!(attendant.call_for_help());
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
            shared.teams.of_loop(0).queue.claim_a_woken_thread();
            for _ in 0..2 {
                let so_far = turn();
                for _ in 0..2 {
                    shared.offer(work());
                }
                assert_eq!(turn(), so_far + 1, "one is left for the woken thread");
            }
            server.push_all();
            let so_far = turn();
            *calls.server.lock() = Weak::new();
            for _ in 0..2 {
                shared.offer(work());
            }
            assert_eq!(turn(), so_far + 1);
            shared.offer(work());
            assert_eq!(turn(), so_far + 1, "help is on its way");
        });
    }
}
