//! Connections at the limit, `:max-connections`: those that are over, idle ones, and those that never sent anything, are
//! closed for new ones, which wait if there are none.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Conn, State};
use super::inbound::Awaited;
use super::phase::{Phase, Receiving, Responding};
use super::shared::Shared;
use super::sink::Notice;
use super::tls::Tls;
use super::types::Stage;
use crate::h1::proxy::ProxyMode;

/// How often a waiting connection checks whether another has become idle.
const LOOK: Duration = Duration::from_millis(100);
/// A connection whose last response is sent is closed no sooner than after this much silence: what its peer still sends
/// would cause a reset, which could lose the response.
const GRACE: Duration = Duration::from_millis(100);
/// The same for a connection that has sent nothing so far: its first request may be on its way.
const FIRST_GRACE: Duration = Duration::from_secs(1);
/// A search remembers one connection that may give way for this many that it has looked at, so that a new connection
/// costs few looks.
const SHARE: usize = 16;
/// A search that pays off less is repeated no sooner than after this many times as long as it took.
const PAUSE: u32 = 20;
/// Connections checked before the task yields to others on the loop.
const BATCH: usize = 256;
/// Milliseconds that no search takes.
const LONGEST_SEARCH: u32 = 60_000;

/// Why a connection may give way. The first go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Its last response is sent, and its peer does not end its side.
    Over,
    /// It has had a request, and waits for another, of which we have received no byte.
    Idle,
    /// Its peer has sent nothing so far, neither a PROXY header nor a part of a handshake.
    Unheard,
}

/// A connection that may give way, and since when.
type Found = (Weak<Conn>, Why, u32);

/// Connections that may give way, the first to do so last, and when to search for others.
#[derive(Debug, Default)]
pub(super) struct LongIdle {
    found: Vec<Found>,
    /// Searching now would find few again.
    not_before: Option<Instant>,
}

impl LongIdle {
    /// A search that looked at `looked` connections took this time.
    fn searched(&mut self, found: Vec<Found>, looked: usize, now: Instant, took: Duration) {
        // Each of many found ones makes room, or has had a request meanwhile: both pay for the search.
        let pays = found.len() >= most_remembered(looked);
        self.not_before = (!pays).then(|| now + LOOK.max(took * PAUSE));
        self.found = found;
    }

    fn may_search(&self, now: Instant) -> bool {
        self.found.is_empty() && self.not_before.is_none_or(|then| then <= now)
    }
}

/// How many of this many connections a search remembers.
fn most_remembered(count: usize) -> usize {
    (count / SHARE).max(1)
}

/// Waits until there may be one more connection, and counts it. When the server stops accepting, it is counted anyway:
/// it has been accepted, and must be served. `oldest` may give way, as found before.
pub(super) async fn wait_for_room(
    shared: &Arc<Shared>,
    stage: &mut watch::Receiver<Stage>,
    oldest: &mut LongIdle,
) {
    while !shared.admission.enter() {
        let began = Instant::now();
        if oldest.may_search(began) {
            let (found, looked) = find_oldest(shared).await;
            let now = Instant::now();
            oldest.searched(found, looked, now, now - began);
        }
        let gave_way = std::iter::from_fn(|| oldest.found.pop()).any(|found| give_way(&found));
        if !gave_way && shared.admission.warnings.take_due() {
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

/// Some of the connections that may give way, the first to do so last, and how many there were to look at.
async fn find_oldest(shared: &Arc<Shared>) -> (Vec<Found>, usize) {
    let mut last_first = BinaryHeap::new();
    let now = shared.clock.now();
    let slots = shared.connections.slots();
    // Slots are more: on a machine with many loops, each list has as many as the longest.
    let count = shared.connections.len();
    let remembered = most_remembered(count);
    let mut at = 0;
    while at < slots {
        for conn in shared.connections.at(at..at + BATCH) {
            let Some((why, since)) = conn.may_give_way() else {
                continue;
            };
            let age = Reverse(age(now, since));
            last_first.push(Candidate {
                rank: (why, age),
                since,
                conn,
            });
            if last_first.len() > remembered {
                last_first.pop();
            }
        }
        at += BATCH;
        tokio::task::yield_now().await;
    }
    // Sorted from the first to the last.
    let mut oldest = last_first.into_sorted_vec();
    oldest.reverse();
    let remember = |found: Candidate| (Arc::downgrade(&found.conn), found.rank.0, found.since);
    (oldest.into_iter().map(remember).collect(), count)
}

/// For how long a connection has been idle, by the server's clock, which overflows.
fn age(now: u32, since: u32) -> u32 {
    // It may have become idle after `now`: then it is the youngest, not the oldest.
    match now.wrapping_sub(since) {
        age if age > u32::MAX - LONGEST_SEARCH => 0,
        age => age,
    }
}

/// Ordered so that the last to give way is the greatest.
struct Candidate {
    rank: (Why, Reverse<u32>),
    since: u32,
    conn: Arc<Conn>,
}

impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank.cmp(&other.rank)
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.rank == other.rank
    }
}

impl Eq for Candidate {}

/// Closes a connection that may give way for the reason for which it was found. False if it may not.
fn give_way((conn, why, since): &Found) -> bool {
    let Some(conn) = conn.upgrade() else {
        return false;
    };
    let mut state = conn.lock();
    let may = state.may_give_way(&conn) == Some((*why, *since)) && !state.transport.has_input();
    match why {
        _ if !may => {}
        Why::Over => state.lost(&conn),
        Why::Idle | Why::Unheard => {
            state.inbound.clear();
            state.finish_connection();
        }
    }
    may
}

impl Conn {
    fn may_give_way(&self) -> Option<(Why, u32)> {
        self.lock().may_give_way(self)
    }
}

impl State {
    fn may_give_way(&mut self, conn: &Conn) -> Option<(Why, u32)> {
        if !self.transport.all_is_written() {
            return None;
        }
        let why = match self.phase {
            Phase::Lingering => self.is_over(conn).then_some(Why::Over),
            Phase::Http(Receiving::Requests, Responding::Idle) if self.seq > 0 => {
                (self.inbound.awaited() == Awaited::Request).then_some(Why::Idle)
            }
            Phase::Http(Receiving::Requests, Responding::Idle) => {
                let late = conn.shared.clock.is_past(self.since, FIRST_GRACE);
                (late && self.is_unheard(conn)).then_some(Why::Unheard)
            }
            _ => None,
        };
        Some((why?, self.since))
    }

    fn is_unheard(&self, conn: &Conn) -> bool {
        let proxied =
            conn.shared.config.proxy != ProxyMode::Disable && !self.inbound.proxy.is_expected();
        let is_heard = |tls: &Tls| !tls.is_new() || tls.incomplete() > 0;
        !proxied && self.inbound.is_empty() && !self.transport.tls().is_some_and(is_heard)
    }

    /// Whether the peer of a connection that only waits for its end has taken everything, and has been silent since a
    /// first call.
    fn is_over(&mut self, conn: &Conn) -> bool {
        self.silence(Instant::now()) >= GRACE
            && self.transport.in_kernel(conn.shared.config.unsent) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(10);

    fn idle(count: usize) -> Vec<Found> {
        (0..count).map(|_| (Weak::new(), Why::Idle, 0)).collect()
    }

    /// How many connections are looked at for this many new ones, if each search finds `found` and takes no time.
    fn looks(newcomers: usize, connections: usize, found: usize) -> usize {
        let (mut oldest, mut looks) = (LongIdle::default(), 0);
        let now = Instant::now();
        for _ in 0..newcomers {
            if oldest.may_search(now) {
                looks += connections;
                oldest.searched(idle(found), connections, now, Duration::ZERO);
            }
            oldest.found.pop();
        }
        looks
    }

    #[test]
    fn a_flood_of_new_connections_does_not_look_at_all_others_for_each() {
        // Whether none, few or many of them are idle.
        for found in [0, 1, 100, most_remembered(100_000)] {
            let looks = looks(10_000, 100_000, found);
            assert!(looks <= 2 * SHARE * 10_000, "{found} found: {looks}");
        }
    }

    #[test]
    fn a_search_that_finds_little_is_repeated_after_a_pause_in_proportion_to_its_cost() {
        let mut oldest = LongIdle::default();
        let now = Instant::now();
        assert!(oldest.may_search(now));
        oldest.searched(idle(0), 100, now, TOOK);
        assert!(!oldest.may_search(now + LOOK));
        assert!(oldest.may_search(now + TOOK * PAUSE));
        oldest.searched(idle(0), 100, now, Duration::ZERO);
        assert!(oldest.may_search(now + LOOK));
    }

    #[test]
    fn a_connection_that_has_been_idle_for_weeks_is_older_than_others() {
        const DAY: u32 = 24 * 60 * 60 * 1000;
        for now in [0, 25 * DAY, u32::MAX] {
            for passed in [0, 1, DAY, 25 * DAY, 49 * DAY] {
                assert_eq!(age(now, now.wrapping_sub(passed)), passed);
            }
            assert_eq!(
                age(now, now.wrapping_add(1)),
                0,
                "idle since the search began"
            );
        }
    }

    #[test]
    fn one_of_few_connections_is_enough() {
        let mut oldest = LongIdle::default();
        let now = Instant::now();
        oldest.searched(idle(1), 3, now, TOOK);
        assert!(!oldest.may_search(now), "there is one");
        oldest.found.clear();
        assert!(oldest.may_search(now));
    }
}
