//! Work on its way from the sockets to the threads that run user code.
//!
//! Threads either *pull* ([`WorkQueue::take`] blocks until there is work) or
//! get batches *pushed* by the loop once per turn ([`WorkQueue::drain`]).
//! Wake-ups are chained: a push wakes at most one parked thread, and a woken
//! thread wakes the next only when it leaves work behind. Waking a thread costs
//! more than parsing a request.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

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
    parked: Condvar,
    mode: Mode,
    limit: usize,
}

#[derive(Debug)]
struct Inner {
    items: VecDeque<(Instant, Work)>,
    idle: usize,
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

impl WorkQueue {
    /// A queue that holds at most `limit` items besides closings, which are never refused.
    pub fn new(mode: Mode, limit: usize) -> Self {
        let inner = Inner {
            items: VecDeque::new(),
            idle: 0,
            waking: false,
            taken: 0,
            shut: false,
        };
        Self {
            inner: Mutex::new(inner),
            parked: Condvar::new(),
            mode,
            limit,
        }
    }

    pub(crate) fn mode(&self) -> Mode {
        self.mode
    }

    /// Adds work; gives it back when the queue is full or shut.
    pub(crate) fn push(&self, work: Work) -> Result<Pushed, Work> {
        let mut inner = self.inner.lock();
        if inner.shut || inner.items.len() >= self.limit {
            return Err(work);
        }
        Ok(self.add(&mut inner, work))
    }

    /// Adds work that must not be lost (a closing), whatever the limit. Refused only when shut.
    pub(crate) fn push_unbounded(&self, work: Work) -> Result<Pushed, Work> {
        let mut inner = self.inner.lock();
        if inner.shut {
            return Err(work);
        }
        Ok(self.add(&mut inner, work))
    }

    fn add(&self, inner: &mut Inner, work: Work) -> Pushed {
        let since = match &work {
            Work::Request(request) => request.arrived,
            Work::Events(_) => Instant::now(),
        };
        inner.items.push_back((since, work));
        if inner.idle > 0 && !inner.waking {
            inner.waking = true;
            self.parked.notify_one();
        }
        // The thread being woken is still counted as idle. Its handler may block for ever: what it does
        // not take itself needs another thread.
        if inner.items.len() <= inner.idle {
            Pushed::Served
        } else {
            Pushed::Starved
        }
    }

    /// The next item, waiting for it; `None` once the queue is shut and empty.
    pub fn take(&self) -> Option<Work> {
        let mut yielded = false;
        let mut inner = self.inner.lock();
        loop {
            if let Some((_, work)) = inner.items.pop_front() {
                inner.taken += 1;
                if !inner.items.is_empty() && inner.idle > 0 && !inner.waking {
                    inner.waking = true;
                    self.parked.notify_one();
                }
                return Some(work);
            }
            if inner.shut {
                return None;
            }
            if !yielded {
                // The loop is often about to push: giving it the processor once is
                // cheaper than being parked and woken.
                yielded = true;
                drop(inner);
                std::thread::yield_now();
                inner = self.inner.lock();
                continue;
            }
            inner.idle += 1;
            self.parked.wait(&mut inner);
            inner.idle -= 1;
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
        self.inner.lock().shut = true;
        self.parked.notify_all();
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
        };
        let address = Address::Inet(([127, 0, 0, 1], 0).into());
        let server = Server::bind(&address, config, std::sync::Arc::new(Nobody)).unwrap();
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
        let queue = WorkQueue::new(Mode::Pull, 10);
        // One thread is parked, and does not get to run between the two pushes.
        queue.inner.lock().idle = 1;
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Served));
        assert_eq!(queue.push(work()).ok(), Some(Pushed::Starved));
    }
}
