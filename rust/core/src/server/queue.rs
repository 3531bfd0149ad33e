//! Work on its way from the sockets to the threads that run user code.
//!
//! Threads either *pull* ([`WorkQueue::take`] blocks until there is work) or
//! get batches *pushed* by the loop once per turn ([`WorkQueue::drain`]).
//! Wake-ups are chained: a push wakes at most one parked thread, and a woken
//! thread wakes the next only when it leaves work behind. Waking a thread costs
//! more than parsing a request. The thread that parked last is woken first, so
//! that of a pool which has once grown only the threads that are needed work, and
//! stay warm.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::exchange::Exchange;
use super::request::Request;

/// Something that user code has to see.
#[derive(Debug)]
pub enum Work {
    /// A whole request, body included.
    Request(Request),
    /// Messages or the closing of a channel wait: [`Exchange::take_events`].
    Events(Exchange),
}

/// Where a queue's work goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Threads call [`WorkQueue::take`]. What they cannot take in time is reported to
    /// [`super::Sink::on_starved`], which may start threads or take it away with [`WorkQueue::drain`].
    Pull,
    /// The loop hands everything to [`super::Sink::on_work`] at the end of each turn.
    Push,
}

/// Bounded queue of [`Work`], see the module's text.
#[derive(Debug)]
pub struct WorkQueue {
    inner: Mutex<Inner>,
    mode: Mode,
    limit: usize,
    /// Threads that pull, at most.
    threads: usize,
    processors: usize,
    /// Never used again, unlike an address.
    id: u64,
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A thread inside [`WorkQueue::take`] that has nothing to do.
#[derive(Debug)]
struct Sleeper {
    thread: Thread,
    /// Set by who took it off the list of the parked: a thread may also wake without a reason.
    called: AtomicBool,
}

impl Sleeper {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

thread_local! {
    static SELF: Arc<Sleeper> = Arc::new(Sleeper {
        thread: thread::current(),
        called: AtomicBool::new(false),
    });
    /// The queue in which this thread is counted as awake, 0 for none.
    static AWAKE_IN: Cell<u64> = const { Cell::new(0) };
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<(Instant, Work)>,
    /// In the order in which they parked.
    parked: Vec<Arc<Sleeper>>,
    /// Threads that run user code, look for work or have been called. One that has left in the
    /// middle of its work counts for ever: the number is for hints only.
    awake: usize,
    /// Threads that have taken work and not come back. One that never does counts for ever.
    busy: usize,
    /// A thread has been called and has not come yet.
    waking: bool,
    taken: u64,
    shut: bool,
}

/// How a queue stands, for the decision to add threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pressure {
    /// Items that wait.
    pub waiting: usize,
    /// Age of the oldest of them.
    pub oldest: Duration,
    /// Count of items taken so far; unchanged means that every thread is stuck.
    pub taken: u64,
}

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// A parked thread is there for it.
    Served,
    /// There is more work than parked threads: somebody should look after it soon.
    Starved,
}

impl Inner {
    /// Takes the thread that parked last off the list; the caller calls it, without the lock.
    fn wake(&mut self) -> Option<Arc<Sleeper>> {
        let sleeper = self.parked.pop()?;
        self.waking = true;
        self.awake += 1;
        Some(sleeper)
    }
}

fn add(mut inner: MutexGuard<'_, Inner>, work: Work) -> Pushed {
    let since = match &work {
        Work::Request(request) => request.arrived,
        Work::Events(_) => Instant::now(),
    };
    inner.items.push_back((since, work));
    // The thread being woken counts as well. Its handler may block for ever: what it does not take
    // itself needs another thread.
    let coming = inner.parked.len() + usize::from(inner.waking);
    let pushed = if inner.items.len() <= coming {
        Pushed::Served
    } else {
        Pushed::Starved
    };
    wake_next(inner);
    pushed
}

/// Wakes one thread if there is work, unless one is on its way.
fn wake_next(mut inner: MutexGuard<'_, Inner>) {
    if inner.waking || inner.items.is_empty() {
        return;
    }
    let sleeper = inner.wake();
    drop(inner);
    if let Some(sleeper) = sleeper {
        sleeper.call();
    }
}

/// Until somebody calls.
fn park(mut inner: MutexGuard<'_, Inner>) {
    inner.awake -= 1;
    SELF.with(|sleeper| {
        inner.parked.push(sleeper.clone());
        drop(inner);
        while !sleeper.called.swap(false, Ordering::Acquire) {
            thread::park();
        }
    });
}

impl WorkQueue {
    /// A queue that holds at most `limit` items besides closings, which are never refused, and what
    /// those of at most `threads` threads that are not busy will take.
    pub fn new(mode: Mode, limit: usize, threads: usize) -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            parked: Vec::new(),
            awake: 0,
            busy: 0,
            waking: false,
            taken: 0,
            shut: false,
        };
        Self {
            inner: Mutex::new(inner),
            mode,
            limit,
            threads,
            processors: thread::available_parallelism().map_or(1, usize::from),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds work; gives it back when the queue is full or shut.
    pub(crate) fn push(&self, work: Work) -> Result<Pushed, Work> {
        let inner = self.inner.lock();
        let free = self.threads.saturating_sub(inner.busy);
        if inner.shut || inner.items.len() >= self.limit.saturating_add(free) {
            return Err(work);
        }
        Ok(add(inner, work))
    }

    /// Adds work that must not be lost (a closing), whatever the limit. Refused only when shut.
    pub(crate) fn push_unbounded(&self, work: Work) -> Result<Pushed, Work> {
        let inner = self.inner.lock();
        if inner.shut {
            return Err(work);
        }
        Ok(add(inner, work))
    }

    /// The next item, waiting for it; `None` once the queue is shut and empty.
    pub fn take(&self) -> Option<Work> {
        let mut yielded = false;
        let mut inner = self.inner.lock();
        if AWAKE_IN.replace(self.id) == self.id {
            inner.busy = inner.busy.saturating_sub(1);
        } else {
            inner.awake += 1;
        }
        loop {
            if let Some((_, work)) = inner.items.pop_front() {
                inner.taken += 1;
                inner.busy += 1;
                wake_next(inner);
                return Some(work);
            }
            if inner.shut {
                inner.awake -= 1;
                AWAKE_IN.set(0);
                return None;
            }
            if !yielded && inner.awake <= self.processors {
                // The loop is often about to push: giving it the processor once is cheaper than
                // being parked and woken. Not when there are more of us: taking turns at that,
                // all would share for ever what a few could do.
                yielded = true;
                drop(inner);
                thread::yield_now();
                inner = self.inner.lock();
                continue;
            }
            park(inner);
            inner = self.inner.lock();
            inner.waking = false;
        }
    }

    /// Takes everything that waits.
    pub fn drain(&self) -> Vec<Work> {
        let mut inner = self.inner.lock();
        let count = inner.items.len();
        inner.taken += count as u64;
        inner.items.drain(..).map(|(_, work)| work).collect()
    }

    /// Refuses all further work; threads end once they have taken what is there.
    pub fn shut(&self) {
        let mut inner = self.inner.lock();
        inner.shut = true;
        while let Some(sleeper) = inner.wake() {
            sleeper.call();
        }
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.inner.lock().shut
    }

    pub(crate) fn pressure(&self) -> Option<Pressure> {
        let inner = self.inner.lock();
        let (since, _) = inner.items.front()?;
        Some(Pressure {
            waiting: inner.items.len(),
            oldest: since.elapsed(),
            taken: inner.taken,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::connection::Conn;
    use crate::server::socket::split_unix;
    use crate::server::{Address, Config, Notice, Server, Sink};

    #[derive(Debug)]
    struct Nobody;

    impl Sink for Nobody {
        fn on_work(&self, _: Vec<Work>) {}
        fn on_starved(&self, _: usize) {}
        fn on_drained(&self, _: i64) {}
        fn on_notice(&self, _: Notice) {}
    }

    fn works() -> impl Fn() -> Work {
        let config = Config {
            limits: crate::h1::Limits::default(),
            proxy: crate::h1::proxy::ProxyMode::Disable,
            server_header: None,
            max_message: 0,
            max_pending_messages: 1,
            backlog: 1,
            receive_buffer: 0,
            reuse_port: false,
            mode: Mode::Pull,
            queue: 1,
            threads: 0,
        };
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        let server = Server::bind(&address, config, Arc::new(Nobody)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        let _entered = runtime.enter();
        let (stream, _) = tokio::net::UnixStream::pair().unwrap();
        let (_, write, ends) = split_unix(stream);
        let conn = Conn::new(server.shared.clone(), write, ends);
        move || {
            Work::Events(Exchange {
                conn: conn.clone(),
                seq: 0,
            })
        }
    }

    #[test]
    fn work_beyond_the_parked_threads_is_reported_while_one_of_them_wakes() {
        let work = works();
        let queue = WorkQueue::new(Mode::Pull, 10, 0);
        // One thread is parked, and does not get to run between the two pushes.
        queue.inner.lock().parked.push(SELF.with(Arc::clone));
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Served));
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Starved));
    }
}
