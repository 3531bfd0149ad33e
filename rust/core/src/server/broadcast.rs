//! One send on many channels, which loops help the calling thread to make.
//!
//! Most of it is a system call per peer. So the calling thread shares the channels with the server's loops, a few at a
//! time, and returns once all have been served: what it sends next comes after this on each of them, and a loop that is
//! held up keeps it waiting for no more than the few that it has taken.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;
use tokio::task::yield_now;

use super::types::Sent;

/// From this many channels on, which take one thread some 5 ms, loops help. For fewer, waking them costs more than it
/// gains where processors are few: with 500 channels on two cores, half of which the peers used, a broadcast took longer.
const MANY: usize = 1024;
/// Channels that a thread takes at a time: a third of a millisecond, in which its loop attends to nothing else.
const PART: usize = 64;

/// Sends to the n-th channel.
type ToEach = dyn Fn(usize) -> Sent + Send + Sync;

struct Broadcast {
    send: Box<ToEach>,
    channels: usize,
    /// The first channel that no thread has taken.
    next: AtomicUsize,
    outcomes: Mutex<Outcomes>,
    all_served: Condvar,
}

struct Outcomes {
    sent: Vec<Sent>,
    /// Channels that have not been served yet.
    left: usize,
}

/// Channels that a thread has taken, and what became of those it has served.
struct Part<'a> {
    of: &'a Broadcast,
    start: usize,
    end: usize,
    sent: Vec<Sent>,
}

impl Broadcast {
    fn new(channels: usize, send: Box<ToEach>) -> Self {
        Self {
            send,
            channels,
            next: AtomicUsize::new(0),
            outcomes: Mutex::new(Outcomes {
                sent: vec![Sent::Closed; channels],
                left: channels,
            }),
            all_served: Condvar::new(),
        }
    }

    fn is_taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.channels
    }

    /// Serves a few channels; false if all have been taken.
    fn serve_some(&self) -> bool {
        let start = self.next.fetch_add(PART, Ordering::Relaxed);
        if start >= self.channels {
            return false;
        }
        let end = self.channels.min(start + PART);
        let mut part = Part {
            of: self,
            start,
            end,
            sent: Vec::with_capacity(PART),
        };
        for channel in start..end {
            part.sent.push((self.send)(channel));
        }
        true
    }

    fn wait(&self) -> Vec<Sent> {
        let mut outcomes = self.outcomes.lock();
        while outcomes.left > 0 {
            self.all_served.wait(&mut outcomes);
        }
        std::mem::take(&mut outcomes.sent)
    }
}

/// Even after a panic: the calling thread waits for it.
impl Drop for Part<'_> {
    fn drop(&mut self) {
        let mut outcomes = self.of.outcomes.lock();
        outcomes.sent[self.start..][..self.sent.len()].copy_from_slice(&self.sent);
        outcomes.left -= self.end - self.start;
        if outcomes.left == 0 {
            self.of.all_served.notify_one();
        }
    }
}

/// A server's broadcasts that loops can help with.
#[derive(Default)]
pub(super) struct Broadcasts {
    open: Mutex<VecDeque<Arc<Broadcast>>>,
    called: Notify,
}

impl Broadcasts {
    fn open(&self, broadcast: Broadcast) -> Open<'_> {
        let broadcast = Arc::new(broadcast);
        self.open.lock().push_back(broadcast.clone());
        self.called.notify_waiters();
        Open {
            of: self,
            broadcast,
        }
    }

    /// Runs `send` for each number below `channels`, and returns the outcomes.
    pub(super) fn make(
        &self,
        channels: usize,
        send: impl Fn(usize) -> Sent + Send + Sync + 'static,
    ) -> Vec<Sent> {
        if channels < MANY {
            return (0..channels).map(send).collect();
        }
        let open = self.open(Broadcast::new(channels, Box::new(send)));
        while open.broadcast.serve_some() {}
        open.broadcast.wait()
    }

    /// A loop's task: takes part in broadcasts. Others on the loop have their turn in between.
    pub(super) async fn help(&self) {
        loop {
            // Before looking, so that no call is missed.
            let called = self.called.notified();
            while let Some(broadcast) = self.oldest() {
                broadcast.serve_some();
                yield_now().await;
            }
            called.await;
        }
    }

    fn oldest(&self) -> Option<Arc<Broadcast>> {
        let open = self.open.lock();
        open.iter().find(|broadcast| !broadcast.is_taken()).cloned()
    }
}

impl fmt::Debug for Broadcasts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Broadcasts")
            .field(&self.open.lock().len())
            .finish()
    }
}

/// A broadcast that is listed for as long as this lives.
struct Open<'a> {
    of: &'a Broadcasts,
    broadcast: Arc<Broadcast>,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let is_another = |other: &Arc<Broadcast>| !Arc::ptr_eq(other, &self.broadcast);
        self.of.open.lock().retain(is_another);
    }
}
