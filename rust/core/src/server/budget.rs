//! How much a server holds for its peers in native memory, together, and the limit on that.
//!
//! Each connection counts what has arrived and was not handed over, and what was not sent, in units, at each of its
//! turns on the loop, and when user code takes what it has counted; what waits in the work queue is counted on its own.
//! So the sum is a little late, and costs a connection that holds nothing a comparison. Bytes that several connections
//! share are divided among them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::throttle::Throttle;

/// What is counted. Less than that is not: the short messages and requests of most connections cost no change of a sum
/// that all threads share.
const UNIT: usize = 4096;
/// A connection has two bytes for its count: from 128 MiB on, it counts whole MiB.
const FINE: usize = 1 << 15;
const COARSE: usize = 256;

/// The sum, and the limit.
#[derive(Debug)]
pub(super) struct Budget {
    most: Option<u64>,
    units: AtomicU64,
    pub(super) warnings: Throttle,
}

impl Budget {
    pub(super) fn new(most: Option<u64>) -> Self {
        Self {
            most,
            units: AtomicU64::new(0),
            warnings: Throttle::default(),
        }
    }

    /// What this many bytes count, in units up to [`FINE`], then in steps of [`COARSE`] units: at most 32 GiB.
    pub(super) fn units(bytes: usize) -> u16 {
        let units = bytes / UNIT;
        let fine = units.min(FINE);
        u16::try_from(fine + (units - fine) / COARSE).unwrap_or(u16::MAX)
    }

    /// Something that counted `from` now counts `to`.
    pub(super) fn change(&self, from: u16, to: u16) {
        if from != to {
            let more = in_units(to).wrapping_sub(in_units(from));
            self.units.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// The bytes that are counted.
    pub(super) fn held(&self) -> u64 {
        self.units.load(Ordering::Relaxed) * UNIT as u64
    }

    /// Whether nothing more should be begun.
    pub(super) fn is_exhausted(&self) -> bool {
        self.most.is_some_and(|most| self.held() >= most)
    }

    /// The warning for that case.
    pub(super) fn warning(&self) -> String {
        let most = self.most.unwrap_or_default();
        format!("{most} bytes are buffered (:max-buffered-bytes): new request bodies get 503")
    }
}

fn in_units(count: u16) -> u64 {
    let count = usize::from(count);
    let fine = count.min(FINE);
    (fine + (count - fine) * COARSE) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_what_was_taken() {
        let budget = Budget::new(Some(3 * UNIT as u64));
        let (some, much) = (Budget::units(UNIT), Budget::units(usize::MAX));
        assert_eq!((Budget::units(UNIT - 1), some, much), (0, 1, u16::MAX));
        budget.change(0, some);
        budget.change(0, 1);
        assert!(!budget.is_exhausted());
        budget.change(some, much);
        assert!(budget.is_exhausted());
        budget.change(much, 0);
        budget.change(1, 0);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn what_one_connection_holds_counts_to_the_unit_and_much_of_it_to_the_mib() {
        let counted = |bytes| {
            let budget = Budget::new(None);
            budget.change(0, Budget::units(bytes));
            budget.held() as usize
        };
        let most = FINE * UNIT;
        for bytes in [UNIT, 5 * UNIT, most - UNIT, most, most + (1 << 20), 5 << 30] {
            assert_eq!(counted(bytes), bytes);
            assert_eq!(counted(bytes + UNIT - 1), bytes);
        }
        assert_eq!(counted((320 << 20) + 12_345), 320 << 20);
    }
}
