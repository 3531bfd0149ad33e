//! A server of which only the work room is real: sockets are a list, handlers return or wait for one another.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use tokio::sync::Notify;

use crate::sync::Instant;
use work::{Mode, Owner, Pushed, Settings, Team, Teams};

#[path = "../../src/server/work/mod.rs"]
mod work;

/// What a handler does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    Short,
    /// Waits until two of them are being handled.
    Meet,
}

/// What peers have sent to one loop.
#[derive(Debug, Default)]
struct Sockets {
    arrived: Mutex<Vec<Request>>,
    waker: Mutex<Option<Waker>>,
}

impl Sockets {
    fn send(&self, request: Request) {
        self.arrived.lock().unwrap().push(request);
        if let Some(waker) = self.waker.lock().unwrap().take() {
            waker.wake();
        }
    }
}

/// One loop: each poll is a turn, which pushes what has arrived.
#[derive(Debug)]
pub(crate) struct Runtime {
    sockets: Arc<Sockets>,
    server: Arc<Server>,
    event_loop: usize,
}

impl Runtime {
    /// For the room's unit tests, which are checked here as well, but not run.
    pub(crate) fn idle() -> Self {
        Self {
            sockets: Arc::default(),
            server: Arc::new(Server::new(1)),
            event_loop: 0,
        }
    }

    pub(crate) fn block_on<T>(&self, until: impl Future<Output = T>) -> T {
        let mut until = pin!(until);
        shuttle::future::block_on(std::future::poll_fn(|cx| {
            self.turn(cx);
            until.as_mut().poll(cx)
        }))
    }

    fn turn(&self, cx: &Context<'_>) {
        *self.sockets.waker.lock().unwrap() = Some(cx.waker().clone());
        let arrived = std::mem::take(&mut *self.sockets.arrived.lock().unwrap());
        let queue = &self.server.teams.of_loop(self.event_loop).queue;
        for request in arrived {
            let pushed = queue.push(Instant::now(), request).expect("has room");
            if pushed == Pushed::Starved {
                self.server.pay_attention();
            }
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    done: usize,
    meeting: usize,
}

#[derive(Debug)]
struct Server {
    teams: Teams<Request>,
    /// Teams' attendants are to look.
    attention: Mutex<bool>,
    attended: Condvar,
    closed: AtomicBool,
    closing: Notify,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// The thread of the loop with this number.
struct LoopOwner {
    server: Arc<Server>,
    event_loop: usize,
}

impl LoopOwner {
    fn team(&self) -> &Team<Request> {
        self.server.teams.of_loop(self.event_loop)
    }
}

impl Owner for LoopOwner {
    fn is_closed(&self) -> bool {
        self.server.closed.load(Ordering::SeqCst)
    }

    async fn closed(&mut self) {
        let server = self.server.clone();
        let closing = server.closing.notified();
        let mut closing = pin!(closing);
        closing.as_mut().enable();
        if !self.is_closed() {
            closing.await;
        }
    }

    fn loop_is_free(&self) {
        self.team().queue.wake_for_loop();
    }

    fn taken_back(&self) {
        self.team().queue.wake_for_work();
        self.server.pay_attention();
    }
}

impl Server {
    fn new(teams: usize) -> Self {
        let settings = Settings {
            mode: Mode::Pull,
            limit: 100,
            threads: 0,
            kept: 100,
            keep_alive: Duration::from_secs(60),
        };
        Self {
            teams: Teams::of(teams, settings),
            attention: Mutex::new(false),
            attended: Condvar::new(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// What a worker's thread does.
    fn work(&self) {
        while let Some(request) = self.teams.take() {
            let mut progress = self.progress.lock().unwrap();
            if request == Request::Meet {
                progress.meeting += 1;
                let all = progress.meeting.next_multiple_of(2);
                self.changed.notify_all();
                while progress.meeting < all {
                    progress = self.changed.wait(progress).unwrap();
                }
            }
            progress.done += 1;
            self.changed.notify_all();
        }
    }

    fn pay_attention(&self) {
        *self.attention.lock().unwrap() = true;
        self.attended.notify_all();
    }

    /// What a team's attendant does: calls other teams from the first sign of need until its queue is empty. Never if
    /// it is the only one, since there is no other to call: nothing may depend on it then.
    fn attend(&self) {
        while self.wait_for_attention() {
            for team in (0..self.teams.len()).map(|team| self.teams.of_loop(team)) {
                while team.queue.pressure(false).is_some() {
                    let woken = team.queue.wake_parked_others(1);
                    team.queue.wake_leading_others(1 - woken);
                    thread::yield_now();
                }
            }
        }
    }

    fn wait_for_attention(&self) -> bool {
        let mut attention = self.attention.lock().unwrap();
        while !*attention && !self.closed.load(Ordering::SeqCst) {
            attention = self.attended.wait(attention).unwrap();
        }
        std::mem::take(&mut *attention)
    }

    fn wait_until_done(&self, requests: usize) {
        let mut progress = self.progress.lock().unwrap();
        while progress.done < requests {
            progress = self.changed.wait(progress).unwrap();
        }
    }

    fn close(&self) {
        self.teams.shut();
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
        self.teams.alert();
        // Under the lock: an attendant that has seen it open is waiting by now.
        let _attention = self.attention.lock().unwrap();
        self.attended.notify_all();
    }
}

/// Runs a server with `loops` and `workers` in `teams` until it has served `bursts`, one after the other, and closes
/// it. Returns how many requests these are.
pub(crate) fn serve(teams: usize, loops: usize, workers: usize, bursts: &[&[Request]]) -> usize {
    let server = Arc::new(Server::new(teams));
    let sockets: Vec<Arc<Sockets>> = (0..loops).map(|_| Arc::default()).collect();
    let owners = sockets.iter().enumerate().map(|(event_loop, sockets)| {
        let runtime = Runtime {
            sockets: sockets.clone(),
            server: server.clone(),
            event_loop,
        };
        let server = server.clone();
        thread::spawn(move || {
            let loops = &server.teams.of_loop(event_loop).loops;
            let server = server.clone();
            loops.run_or_supervise(runtime, LoopOwner { server, event_loop });
        })
    });
    let mut threads: Vec<_> = owners.collect();
    threads.extend((0..workers).map(|_| {
        let server = server.clone();
        thread::spawn(move || server.work())
    }));
    if teams > 1 {
        let server = server.clone();
        threads.push(thread::spawn(move || server.attend()));
    }
    let mut sent = 0;
    for burst in bursts {
        for (i, request) in burst.iter().enumerate() {
            sockets[i % loops].send(*request);
        }
        sent += burst.len();
        server.wait_until_done(sent);
    }
    server.close();
    for thread in threads {
        thread.join().unwrap();
    }
    sent
}
