//! Limits on the number of connections, in total and per address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::throttle::Throttle;

/// Counts of open connections, and their limits.
#[derive(Debug)]
pub(super) struct Admission {
    most: Option<usize>,
    most_per_ip: Option<u32>,
    open: AtomicUsize,
    by_network: Mutex<HashMap<Network, u32>>,
    refused: AtomicU64,
    /// A connection has ended while the limit was reached.
    pub(super) left: Notify,
    pub(super) warnings: Throttle,
}

/// Addresses that count as one: an IPv4 address, or the 2^64 of an IPv6 network, all of which one host may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Network(u128);

impl Network {
    fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().to_bits()),
            IpAddr::V6(ip) => Self(ip.to_bits() & !u128::from(u64::MAX)),
        }
    }
}

impl Admission {
    pub(super) fn new(most: Option<usize>, most_per_ip: Option<u32>) -> Self {
        Self {
            most,
            most_per_ip,
            open: AtomicUsize::new(0),
            by_network: Mutex::default(),
            refused: AtomicU64::new(0),
            left: Notify::new(),
            warnings: Throttle::default(),
        }
    }

    /// Counts one more connection, unless the limit is reached.
    pub(super) fn enter(&self) -> bool {
        let Some(most) = self.most else {
            self.enter_anyway();
            return true;
        };
        let more = |open| (open < most).then_some(open + 1);
        self.open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok()
    }

    /// Counts one more connection.
    pub(super) fn enter_anyway(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn leave(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        if self.most.is_some() {
            self.left.notify_one();
        }
    }

    /// Whether the limit is so near that clients should not keep their connections.
    pub(super) fn is_crowded(&self) -> bool {
        self.most.is_some_and(|most| {
            self.open.load(Ordering::Relaxed).saturating_mul(10) > most.saturating_mul(9)
        })
    }

    pub(super) fn has_limit_per_ip(&self) -> bool {
        self.most_per_ip.is_some()
    }

    /// Counts one more connection from this address, unless its limit is reached.
    pub(super) fn enter_from(&self, peer: SocketAddr) -> bool {
        let Some(most) = self.most_per_ip else {
            return true;
        };
        let mut by_network = self.by_network.lock();
        let open = by_network.entry(Network::of(peer)).or_default();
        if *open >= most {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        *open += 1;
        true
    }

    /// A connection that [`Self::enter_from`] has counted has ended.
    pub(super) fn leave_from(&self, peer: SocketAddr) {
        if self.most_per_ip.is_none() {
            return;
        }
        let mut by_network = self.by_network.lock();
        let network = Network::of(peer);
        if let Some(open) = by_network.get_mut(&network) {
            *open -= 1;
            if *open == 0 {
                by_network.remove(&network);
            }
        }
    }

    /// Connections that were closed on arrival because of the limit per address.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The warning for the case that a connection has to wait.
    pub(super) fn warning(&self) -> String {
        let most = self.most.unwrap_or_default();
        format!("{most} connections (:max-connections): new ones wait")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 1)
    }

    #[test]
    fn no_more_enter_than_may_until_one_leaves() {
        let admission = Admission::new(Some(2), None);
        assert!(admission.enter() && admission.enter());
        assert!(!admission.enter());
        admission.leave();
        assert!(admission.enter());
        admission.enter_anyway();
        admission.leave();
        assert!(!admission.enter());
    }

    #[test]
    fn it_is_crowded_above_nine_tenths() {
        let admission = Admission::new(Some(20), None);
        (0..18).for_each(|_| admission.enter_anyway());
        assert!(!admission.is_crowded());
        admission.enter_anyway();
        assert!(admission.is_crowded());
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_count_as_one() {
        let admission = Admission::new(None, Some(2));
        assert!(admission.enter_from(at("2001:db8::1")));
        assert!(admission.enter_from(at("2001:db8::ffff:1")));
        assert!(!admission.enter_from(at("2001:db8::2")));
        assert!(admission.enter_from(at("2001:db8:0:1::1")), "another one");
        admission.leave_from(at("2001:db8::7"));
        assert!(admission.enter_from(at("2001:db8::2")));
        assert_eq!(admission.refused(), 1);
    }

    #[test]
    fn an_ipv4_address_counts_for_itself_however_it_is_written() {
        let admission = Admission::new(None, Some(1));
        assert!(admission.enter_from(at("192.0.2.1")));
        assert!(!admission.enter_from(at("::ffff:192.0.2.1")));
        assert!(admission.enter_from(at("192.0.2.2")));
        assert!(admission.enter_from(at("::1")));
        for ip in ["192.0.2.1", "192.0.2.2", "::1"] {
            admission.leave_from(at(ip));
        }
        assert!(admission.by_network.lock().is_empty(), "no address is kept");
    }
}
