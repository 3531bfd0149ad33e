//! Kept-alive connections and the limits on all of them.
//!
//! An idle connection has a task of its own, which rests; the pool holds its [seat](super::seat).

use super::call::Call;
use super::key::{HostKey, PoolKey};
use super::seat::Seat;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// A place in the pool. It begins with the expiry, so the first ticket expires next.
pub(super) type Ticket = (Instant, u64);

/// A call queued for a connection, and the task that watches its time limits.
pub(super) struct Queued {
    pub call: Call,
    pub watch: tokio::task::AbortHandle,
}

/// See the module docs.
#[derive(Default)]
pub(super) struct Pool {
    idle: HashMap<Arc<PoolKey>, BTreeMap<Ticket, Arc<Seat>>>,
    by_expiry: BTreeMap<Ticket, Arc<PoolKey>>,
    next_ticket: u64,
    open: usize,
    per_host: HashMap<HostKey, usize>,
    queue: VecDeque<Queued>,
    limits: Limits,
}

#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    pub total: Option<usize>,
    pub per_host: Option<usize>,
}

impl Pool {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(super) fn idle(&self) -> usize {
        self.by_expiry.len()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Takes the idle connection for `key` that expires next.
    pub(super) fn checkout(&mut self, key: &PoolKey) -> Option<Arc<Seat>> {
        let entries = self.idle.get_mut(key)?;
        let (ticket, seat) = entries.pop_first()?;
        if entries.is_empty() {
            self.idle.remove(key);
        }
        self.by_expiry.remove(&ticket);
        Some(seat)
    }

    /// Adds an idle connection.
    pub(super) fn park(&mut self, key: Arc<PoolKey>, expiry: Instant, seat: Arc<Seat>) -> Ticket {
        let ticket = (expiry, self.next_ticket);
        self.next_ticket += 1;
        self.by_expiry.insert(ticket, key.clone());
        self.idle.entry(key).or_default().insert(ticket, seat);
        ticket
    }

    /// Removes an idle connection, and closes it.
    pub(super) fn leave(&mut self, key: &PoolKey, ticket: &Ticket) {
        self.by_expiry.remove(ticket);
        if let Some(entries) = self.idle.get_mut(key) {
            if let Some(seat) = entries.remove(ticket) {
                seat.close();
            }
            if entries.is_empty() {
                self.idle.remove(key);
            }
        }
    }

    /// Counts one more connection to `key`, if the limits allow it.
    pub(super) fn reserve(&mut self, key: &PoolKey) -> bool {
        if !self.room_for(key) {
            return false;
        }
        self.open += 1;
        if self.limits.per_host.is_some() {
            *self.per_host.entry(key.host.clone()).or_default() += 1;
        }
        true
    }

    /// A connection to `key` is closed.
    pub(super) fn release(&mut self, key: &PoolKey) {
        self.open -= 1;
        if let Some(open) = self.per_host.get_mut(&key.host) {
            *open -= 1;
            if *open == 0 {
                self.per_host.remove(&key.host);
            }
        }
    }

    fn room_for(&self, key: &PoolKey) -> bool {
        self.total_room() && self.host_room(key)
    }

    fn total_room(&self) -> bool {
        self.limits.total.is_none_or(|limit| self.open < limit)
    }

    fn host_room(&self, key: &PoolKey) -> bool {
        let open = || self.per_host.get(&key.host).copied().unwrap_or(0);
        self.limits.per_host.is_none_or(|limit| open() < limit)
    }

    /// Closes the idle connection that expires next, to make room for `key`: one to the same host if that host's limit
    /// is reached, else one to any host.
    pub(super) fn evict_for(&mut self, key: &PoolKey) {
        let any_host = self.host_room(key);
        let victim = self
            .by_expiry
            .iter()
            .find(|(_, owner)| any_host || owner.host == key.host)
            .map(|(ticket, owner)| (*ticket, owner.clone()));
        if let Some((ticket, owner)) = victim {
            self.leave(&owner, &ticket);
        }
    }

    pub(super) fn enqueue(&mut self, queued: Queued) {
        self.queue.push_back(queued);
    }

    /// Whether this call is the last in the queue.
    pub(super) fn is_last(&self, call: u64) -> bool {
        self.queue.back().is_some_and(|last| last.call.id == call)
    }

    /// Removes a call from the queue, for any reason.
    pub(super) fn remove_queued(&mut self, call: u64) -> Option<Queued> {
        let at = self.queue.iter().position(|q| q.call.id == call)?;
        self.queue.remove(at)
    }

    /// The first queued call for which there is room now; a connection is reserved for it.
    pub(super) fn next_opened(&mut self) -> Option<Queued> {
        if !self.total_room() {
            return None;
        }
        let at = self
            .queue
            .iter()
            .position(|queued| self.host_room(&queued.call.key))?;
        let queued = self.queue.remove(at)?;
        self.reserve(&queued.call.key);
        Some(queued)
    }

    /// What a free connection to `key` does next. The first queued call that it can serve, or that could use its place,
    /// decides: the connection serves it, or closes to make room for it. Calls that only their own host's limit holds
    /// back are skipped.
    pub(super) fn next_for(&mut self, key: &PoolKey) -> Next {
        let fits = |queued: &Queued| *queued.call.key == *key && queued.call.takes_pooled();
        let found = self.queue.iter().position(|queued| {
            fits(queued) || queued.call.key.host == key.host || self.host_room(&queued.call.key)
        });
        match found {
            None => Next::None,
            Some(at) if fits(&self.queue[at]) => match self.queue.remove(at) {
                Some(queued) => Next::Serve(queued),
                None => Next::None,
            },
            Some(_) => Next::GiveWay,
        }
    }

    /// Takes all queued calls, and forgets all idle connections, whose tasks have ended.
    pub(super) fn clear(&mut self) -> Vec<Queued> {
        self.idle.clear();
        self.by_expiry.clear();
        self.queue.drain(..).collect()
    }
}

/// See [`Pool::next_for`].
pub(super) enum Next {
    Serve(Queued),
    GiveWay,
    None,
}
