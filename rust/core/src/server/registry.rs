//! The open connections of a server: a list that can be walked piece by piece.
//!
//! It consists of parts, each with its own lock: each loop adds to one of them, so loops that open and close
//! connections do not wait for each other.

use std::ops::Range;
use std::sync::{Arc, Weak};
use std::thread;

use parking_lot::{Mutex, MutexGuard};

/// Entries that are looked at under one lock: some 10 us.
const PIECE: usize = 1024;
/// Most parts.
const MOST_PARTS: usize = 32;

/// Entries in numbered slots; a slot that has become free is used again.
#[derive(Debug)]
pub(super) struct Registry<C> {
    parts: Box<[Part<C>]>,
}

/// On cache lines of its own, with those that a processor fetches beside them.
#[derive(Debug)]
#[repr(align(128))]
struct Part<C>(Mutex<Inner<C>>);

#[derive(Debug)]
struct Inner<C> {
    entries: Vec<Weak<C>>,
    free: Vec<u32>,
}

impl<C> Registry<C> {
    /// With a part for each loop that a server has by default; further loops share them.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self::with_parts((processors / 2).clamp(1, MOST_PARTS))
    }

    fn with_parts(parts: usize) -> Self {
        let empty = || {
            let (entries, free) = (Vec::new(), Vec::new());
            Part(Mutex::new(Inner { entries, free }))
        };
        Self {
            parts: std::iter::repeat_with(empty).take(parts).collect(),
        }
    }

    /// Adds an entry to the part of this loop, and returns its slot, and whether it is the only one of that part.
    pub(super) fn add(&self, event_loop: usize, entry: Weak<C>) -> (u32, bool) {
        let part = event_loop % self.parts.len();
        let mut inner = self.lock(part);
        let only = inner.entries.len() == inner.free.len();
        let at = match inner.free.pop() {
            Some(at) => {
                inner.entries[at as usize] = entry;
                at as usize
            }
            None => {
                inner.entries.push(entry);
                inner.entries.len() - 1
            }
        };
        ((at * self.parts.len() + part) as u32, only)
    }

    /// Removes the entry in this slot. Call it once: a second call would free another entry's slot.
    pub(super) fn remove(&self, slot: u32) {
        let slot = slot as usize;
        let at = slot / self.parts.len();
        let mut inner = self.lock(slot % self.parts.len());
        inner.entries[at] = Weak::new();
        inner.free.push(at as u32);
    }

    pub(super) fn len(&self) -> usize {
        let used = |inner: MutexGuard<'_, Inner<C>>| inner.entries.len() - inner.free.len();
        self.locked().map(used).sum()
    }

    /// All entries that are here from the beginning of the call to its end. A lock is held for a piece of them at a
    /// time: a loop that opens and closes connections does not wait for 100,000.
    pub(super) fn all(&self) -> Vec<Arc<C>> {
        let mut all = Vec::with_capacity(self.len());
        for start in (0..self.slots()).step_by(PIECE) {
            all.extend(self.at(start..start + PIECE));
        }
        all
    }

    /// How many slots there are: used, free, or not there yet because another part has more.
    pub(super) fn slots(&self) -> usize {
        let most = self.locked().map(|inner| inner.entries.len()).max();
        most.unwrap_or_default() * self.parts.len()
    }

    /// The entries at these slots.
    pub(super) fn at(&self, slots: Range<usize>) -> Vec<Arc<C>> {
        let parts = self.parts.len();
        let mut found = Vec::new();
        for part in 0..parts {
            // How many slots of this part are before this one.
            let before = |slot: usize| (slot + parts - 1 - part) / parts;
            let inner = self.lock(part);
            let end = before(slots.end).min(inner.entries.len());
            let entries = inner.entries.get(before(slots.start)..end);
            found.extend(entries.unwrap_or_default().iter().filter_map(Weak::upgrade));
        }
        found
    }

    fn lock(&self, part: usize) -> MutexGuard<'_, Inner<C>> {
        self.parts[part].0.lock()
    }

    fn locked(&self) -> impl Iterator<Item = MutexGuard<'_, Inner<C>>> {
        self.parts.iter().map(|part| part.0.lock())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// `count` entries, and a list with as many parts, to which loops add them in turns.
    fn registry(parts: usize, count: usize) -> (Registry<usize>, Vec<Arc<usize>>) {
        let registry = Registry::with_parts(parts);
        let entries: Vec<_> = (0..count).map(Arc::new).collect();
        for (event_loop, entry) in entries.iter().enumerate() {
            registry.add(event_loop, Arc::downgrade(entry));
        }
        (registry, entries)
    }

    fn sorted(mut entries: Vec<Arc<usize>>) -> Vec<Arc<usize>> {
        entries.sort_unstable();
        entries
    }

    #[test]
    fn a_free_slot_is_used_again() {
        let registry = Registry::with_parts(1);
        let entries: Vec<_> = (0..3).map(Arc::new).collect();
        let added: Vec<_> = entries
            .iter()
            .map(|entry| registry.add(0, Arc::downgrade(entry)))
            .collect();
        assert_eq!(added, [(0, true), (1, false), (2, false)]);
        registry.remove(1);
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.all(), [Arc::new(0), Arc::new(2)]);
        assert_eq!(registry.add(0, Arc::downgrade(&entries[1])), (1, false));
        assert_eq!((registry.len(), registry.slots()), (3, 3));
    }

    #[test]
    fn pieces_make_up_the_whole_with_any_number_of_parts() {
        for parts in 1..6 {
            for step in 1..8 {
                let (registry, entries) = registry(parts, 10);
                registry.remove(4);
                let mut found = Vec::new();
                for at in (0..registry.slots()).step_by(step) {
                    found.extend(registry.at(at..at + step));
                }
                let left = [&entries[..4], &entries[5..]].concat();
                assert_eq!(sorted(found), left, "{parts} parts, {step} at a time");
                assert_eq!(sorted(registry.all()), left);
                assert_eq!(registry.len(), 9);
            }
        }
    }

    #[test]
    fn a_loop_that_opens_and_closes_connections_waits_for_no_other() {
        let (registry, entries) = registry(4, 4);
        let registry = Arc::new(registry);
        let _another_loops = registry.lock(1);
        let (done, is_done) = mpsc::channel();
        let other_loops = registry.clone();
        thread::spawn(move || {
            for event_loop in [0, 2, 3, 4] {
                let (slot, _) = other_loops.add(event_loop, Arc::downgrade(&entries[0]));
                other_loops.remove(slot);
            }
            done.send(()).unwrap();
        });
        let waited = is_done.recv_timeout(Duration::from_secs(10));
        assert_eq!(waited, Ok(()), "they wait for a lock");
    }

    /// The sweep's clock starts with the first entry of all, which is the first of its part.
    #[test]
    fn the_only_entry_of_all_is_the_only_one_of_its_part() {
        let registry = Registry::with_parts(3);
        let entry = Arc::new(());
        for event_loop in 0..6 {
            let (slot, only) = registry.add(event_loop, Arc::downgrade(&entry));
            assert!(only);
            registry.remove(slot);
            assert_eq!(registry.len(), 0);
        }
    }
}
