//! The open connections of a server: a list that can be walked piece by piece.

use std::ops::Range;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// Entries that are looked at under one lock: some 10 us.
const PIECE: usize = 1024;

/// Entries in numbered places; a place that has become free is used again.
#[derive(Debug)]
pub(super) struct Registry<C> {
    inner: Mutex<Inner<C>>,
}

#[derive(Debug)]
struct Inner<C> {
    places: Vec<Weak<C>>,
    free: Vec<u32>,
}

impl<C> Registry<C> {
    pub(super) fn new() -> Self {
        let (places, free) = (Vec::new(), Vec::new());
        let inner = Mutex::new(Inner { places, free });
        Self { inner }
    }

    /// Adds an entry, and returns its place, and whether it is the only one.
    pub(super) fn add(&self, entry: Weak<C>) -> (u32, bool) {
        let mut inner = self.inner.lock();
        let only = inner.places.len() == inner.free.len();
        let place = match inner.free.pop() {
            Some(place) => {
                inner.places[place as usize] = entry;
                place
            }
            None => {
                inner.places.push(entry);
                inner.places.len() as u32 - 1
            }
        };
        (place, only)
    }

    /// Removes the entry at this place, once.
    pub(super) fn remove(&self, place: u32) {
        let mut inner = self.inner.lock();
        inner.places[place as usize] = Weak::new();
        inner.free.push(place);
    }

    pub(super) fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.places.len() - inner.free.len()
    }

    /// All entries that are here from the beginning of the call to its end. The lock is held for a piece of them at a
    /// time: loops that open and close connections do not wait for 100,000.
    pub(super) fn all(&self) -> Vec<Arc<C>> {
        let mut all = Vec::with_capacity(self.len());
        for start in (0..self.places()).step_by(PIECE) {
            all.extend(self.at(start..start + PIECE));
        }
        all
    }

    /// How many places there are, used or free.
    pub(super) fn places(&self) -> usize {
        self.inner.lock().places.len()
    }

    /// The entries at these places.
    pub(super) fn at(&self, places: Range<usize>) -> Vec<Arc<C>> {
        let inner = self.inner.lock();
        let end = places.end.min(inner.places.len());
        let places = inner.places.get(places.start..end).unwrap_or_default();
        places.iter().filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_place_is_used_again() {
        let registry = Registry::new();
        let entries: Vec<_> = (0..3).map(Arc::new).collect();
        let added: Vec<_> = entries
            .iter()
            .map(|entry| registry.add(Arc::downgrade(entry)))
            .collect();
        assert_eq!(added, [(0, true), (1, false), (2, false)]);
        registry.remove(1);
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.all(), [Arc::new(0), Arc::new(2)]);
        assert_eq!(registry.add(Arc::downgrade(&entries[1])), (1, false));
        assert_eq!((registry.len(), registry.places()), (3, 3));
    }

    #[test]
    fn pieces_make_up_the_whole() {
        let registry = Registry::new();
        let entries: Vec<_> = (0..10).map(Arc::new).collect();
        for entry in &entries {
            registry.add(Arc::downgrade(entry));
        }
        registry.remove(4);
        let pieces = [0..4, 4..8, 8..12, 12..16].map(|places| registry.at(places));
        assert_eq!(pieces.concat(), registry.all());
        assert_eq!(registry.len(), 9);
    }
}
