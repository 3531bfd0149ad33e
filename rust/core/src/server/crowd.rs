//! Connections at the limit, `:max-connections`: idle ones are closed for new ones, which wait if none is idle.

use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::connection::{Conn, State};
use super::inbound::Awaited;
use super::phase::{Phase, Receiving, Responding};
use super::shared::Shared;
use super::sink::Notice;
use super::types::Stage;

/// How often a waiting connection checks whether another has become idle.
const LOOK: Duration = Duration::from_millis(100);
/// Idle connections that are remembered, so that not every new connection has to search for one.
const REMEMBERED: usize = 64;
/// Connections checked before the task yields to others on the loop.
const BATCH: usize = 256;

/// An idle connection, and since when it is idle.
pub(super) type Idle = (Weak<Conn>, u32);

/// Waits until there may be one more connection, and counts it. When the server stops accepting, it is counted anyway:
/// it has been accepted, and must be served. `oldest` are idle connections that were found before.
pub(super) async fn wait_for_room(
    shared: &Arc<Shared>,
    stage: &mut watch::Receiver<Stage>,
    oldest: &mut Vec<Idle>,
) {
    while !shared.admission.enter() {
        if oldest.is_empty() {
            *oldest = find_oldest(shared).await;
        }
        let gave_way = std::iter::from_fn(|| oldest.pop()).any(|idle| give_way(&idle));
        if !gave_way && shared.admission.warnings.is_due() {
            shared.notice(Notice::Warning(shared.admission.warning()));
        }
        tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage != Stage::Accepting) => {
                return shared.admission.enter_anyway();
            }
            () = shared.admission.left.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// Some of the connections that have been idle for longest, the oldest last.
async fn find_oldest(shared: &Arc<Shared>) -> Vec<Idle> {
    let mut youngest_first = BinaryHeap::new();
    let now = shared.clock.now();
    let mut at = 0;
    while at < shared.connections.places() {
        for conn in shared.connections.at(at..at + BATCH) {
            let Some(since) = conn.idle_since() else {
                continue;
            };
            // It may have become idle after `now`: then it is the youngest, not the oldest.
            let age = now.wrapping_sub(since).cast_signed().max(0).cast_unsigned();
            youngest_first.push(Candidate { age, conn, since });
            if youngest_first.len() > REMEMBERED {
                youngest_first.pop();
            }
        }
        at += BATCH;
        tokio::task::yield_now().await;
    }
    // Sorted from the oldest to the youngest.
    let mut oldest = youngest_first.into_sorted_vec();
    oldest.reverse();
    let remember = |found: Candidate| (Arc::downgrade(&found.conn), found.since);
    oldest.into_iter().map(remember).collect()
}

/// Ordered so that the youngest is the greatest.
struct Candidate {
    age: u32,
    since: u32,
    conn: Arc<Conn>,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.age.cmp(&self.age)
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.age == other.age
    }
}

impl Eq for Candidate {}

/// Closes a connection that has been idle since it was found. False if it has not.
fn give_way((conn, since): &Idle) -> bool {
    let Some(conn) = conn.upgrade() else {
        return false;
    };
    let mut state = conn.lock();
    let idle =
        state.since == *since && state.is_idle_between_requests() && !state.transport.has_input();
    if idle {
        state.inbound.clear();
        state.finish_connection();
    }
    idle
}

impl Conn {
    fn idle_since(&self) -> Option<u32> {
        let state = self.lock();
        state.is_idle_between_requests().then_some(state.since)
    }
}

impl State {
    /// Whether the connection has had a request, and waits for another, of which we have received no byte.
    fn is_idle_between_requests(&self) -> bool {
        matches!(
            self.phase,
            Phase::Http(Receiving::Requests, Responding::Idle)
        ) && self.seq > 0
            && self.inbound.awaited() == Awaited::Request
            && self.transport.all_is_written()
    }
}
