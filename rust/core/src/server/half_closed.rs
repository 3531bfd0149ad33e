//! Which connections of a server are half-closed, and since when. How one is treated is in `half_close.rs`.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::net::platform;

/// How long a peer that has ended its side keeps its socket while nothing is sent, unless the embedder says otherwise.
/// A peer that is still connected has seldom asked for something that takes longer.
pub const HALF_CLOSE_TIME: Duration = Duration::from_secs(10);

/// Half-closed connections may use this fraction of the process's descriptor limit (one in `SHARE`) ...
const SHARE: u64 = 8;
/// ... and no more than this.
const MOST: u64 = 256;

/// How many half-closed connections a server keeps by default: 256, or an eighth of the descriptors that the
/// process may open if that is less.
pub fn max_half_closed() -> usize {
    (platform::descriptors() / SHARE).min(MOST) as usize
}

/// The half-closed connections of a server, the oldest first.
#[derive(Debug)]
pub(super) struct HalfClosed<C> {
    inner: Mutex<Inner<C>>,
}

#[derive(Debug)]
struct Inner<C> {
    last: u64,
    conns: BTreeMap<u64, Weak<C>>,
}

/// One half-closed connection, no longer in the list, and the number of its [`Ticket`].
#[derive(Debug)]
pub(super) struct Oldest<C> {
    pub(super) conn: Arc<C>,
    pub(super) number: u64,
}

impl<C> HalfClosed<C> {
    pub(super) fn new() -> Arc<Self> {
        let (last, conns) = (0, BTreeMap::new());
        let inner = Mutex::new(Inner { last, conns });
        Arc::new(Self { inner })
    }

    /// Adds the newest one.
    pub(super) fn admit(self: &Arc<Self>, conn: &Arc<C>) -> Ticket<C> {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let number = inner.last;
        inner.conns.insert(number, Arc::downgrade(conn));
        Ticket {
            list: self.clone(),
            number,
            since: Instant::now(),
        }
    }

    /// Takes the oldest out if there are more than `most`.
    pub(super) fn excess(&self, most: usize) -> Option<Oldest<C>> {
        let mut inner = self.inner.lock();
        if inner.conns.len() <= most {
            return None;
        }
        inner.take_oldest()
    }

    /// Takes at most `count` out, the oldest first.
    pub(super) fn take(&self, count: usize) -> Vec<Oldest<C>> {
        let mut inner = self.inner.lock();
        std::iter::from_fn(|| inner.take_oldest())
            .take(count)
            .collect()
    }
}

impl<C> Inner<C> {
    fn take_oldest(&mut self) -> Option<Oldest<C>> {
        loop {
            let (number, conn) = self.conns.pop_first()?;
            if let Some(conn) = conn.upgrade() {
                return Some(Oldest { conn, number });
            }
        }
    }
}

/// A connection's place in the list, until this is dropped.
#[derive(Debug)]
pub(super) struct Ticket<C> {
    list: Arc<HalfClosed<C>>,
    pub(super) number: u64,
    /// When something was last sent, or the peer ended its side.
    pub(super) since: Instant,
}

impl<C> Drop for Ticket<C> {
    fn drop(&mut self) {
        self.list.inner.lock().conns.remove(&self.number);
    }
}
