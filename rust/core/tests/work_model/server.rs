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
use work::{Loops, Mode, Owner, Settings, WorkQueue};

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
    queue: Arc<WorkQueue<Request>>,
}

impl Runtime {
    /// For the room's unit tests, which are checked here as well, but not run.
    pub(crate) fn idle() -> Self {
        Self {
            sockets: Arc::default(),
            queue: Server::new().queue,
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
        for request in arrived {
            self.queue.push(Instant::now(), request).expect("has room");
        }
    }
}

#[derive(Debug, Default)]
struct Progress {
    done: usize,
    meeting: usize,
}

struct Server {
    queue: Arc<WorkQueue<Request>>,
    loops: Loops,
    closed: AtomicBool,
    closing: Notify,
    progress: Mutex<Progress>,
    changed: Condvar,
}

/// The thread of a loop.
struct LoopOwner(Arc<Server>);

impl Owner for LoopOwner {
    fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    async fn closed(&mut self) {
        let closing = self.0.closing.notified();
        let mut closing = pin!(closing);
        closing.as_mut().enable();
        if !self.is_closed() {
            closing.await;
        }
    }

    fn loop_is_free(&self) {
        self.0.queue.wake_for_loop();
    }

    fn taken_back(&self) {
        self.0.queue.wake_for_work();
    }
}

impl Server {
    fn new() -> Self {
        Self {
            queue: Arc::new(WorkQueue::new(Settings {
                mode: Mode::Pull,
                limit: 100,
                threads: 0,
                kept: 100,
                keep_alive: Duration::from_secs(60),
            })),
            loops: Loops::default(),
            closed: AtomicBool::new(false),
            closing: Notify::new(),
            progress: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// What a worker's thread does.
    fn work(&self) {
        while let Some(request) = self.queue.take(&self.loops) {
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

    fn wait_until_done(&self, requests: usize) {
        let mut progress = self.progress.lock().unwrap();
        while progress.done < requests {
            progress = self.changed.wait(progress).unwrap();
        }
    }

    fn close(&self) {
        self.queue.shut();
        self.closed.store(true, Ordering::SeqCst);
        self.closing.notify_waiters();
        self.loops.alert();
    }
}

/// Runs a server with `loops` and `workers` until it has served `bursts`, one after the other, and closes it. Returns
/// how many requests these are.
pub(crate) fn serve(loops: usize, workers: usize, bursts: &[&[Request]]) -> usize {
    let server = Arc::new(Server::new());
    let sockets: Vec<Arc<Sockets>> = (0..loops).map(|_| Arc::default()).collect();
    let owners = sockets.iter().map(|sockets| {
        let runtime = Runtime {
            sockets: sockets.clone(),
            queue: server.queue.clone(),
        };
        let server = server.clone();
        thread::spawn(move || {
            server
                .loops
                .run_or_supervise(runtime, LoopOwner(server.clone()));
        })
    });
    let mut threads: Vec<_> = owners.collect();
    threads.extend((0..workers).map(|_| {
        let server = server.clone();
        thread::spawn(move || server.work())
    }));
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
