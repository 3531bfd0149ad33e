//! Java's names for Rust objects: a slot and a generation, never an address.
//!
//! A stale handle is ordinary use (`send!` after the peer left, from any
//! thread), so it must find nothing instead of somebody else's object: every
//! removal bumps the slot's generation, and a lookup compares it.

use parking_lot::Mutex;

use crate::faults;

/// Objects that Java holds by handle. Zero is never a handle.
pub(crate) struct HandleTable<T> {
    slots: Mutex<Slots<T>>,
}

struct Slots<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
    live: usize,
}

const MAX_GENERATION: u32 = 0x7fff_ffff;

struct Entry<T> {
    generation: u32,
    value: Option<T>,
}

impl<T: Clone> HandleTable<T> {
    pub(crate) const fn new() -> Self {
        Self {
            slots: Mutex::new(Slots {
                entries: Vec::new(),
                free: Vec::new(),
                live: 0,
            }),
        }
    }

    pub(crate) fn insert(&self, value: T) -> i64 {
        faults::point();
        let mut slots = self.slots.lock();
        slots.live += 1;
        let index = match slots.free.pop() {
            Some(index) => index,
            None => {
                // Generation 1, so that slot 0 is not handle 0.
                slots.entries.push(Entry {
                    generation: 1,
                    value: None,
                });
                (slots.entries.len() - 1) as u32
            }
        };
        let entry = &mut slots.entries[index as usize];
        entry.value = Some(value);
        join(entry.generation, index)
    }

    /// `None` for a stale or made-up handle.
    pub(crate) fn get(&self, handle: i64) -> Option<T> {
        faults::point();
        let (generation, index) = split(handle);
        let slots = self.slots.lock();
        let entry = slots.entries.get(index as usize)?;
        if entry.generation != generation {
            return None;
        }
        entry.value.clone()
    }

    /// Takes the object out; only the first call for a handle gets it.
    pub(crate) fn remove(&self, handle: i64) -> Option<T> {
        let removed = self.take_out(handle);
        faults::point();
        removed
    }

    fn take_out(&self, handle: i64) -> Option<T> {
        let (generation, index) = split(handle);
        let mut slots = self.slots.lock();
        let entry = slots.entries.get_mut(index as usize)?;
        if entry.generation != generation {
            return None;
        }
        let value = entry.value.take()?;
        // 31 bits, so that handles stay positive; a handle would have to be
        // kept over two thousand million reuses of its slot to be mistaken.
        // Never 0: a busy server gets there in a day, and slot 0 must not become handle 0.
        entry.generation = entry.generation % MAX_GENERATION + 1;
        slots.free.push(index);
        slots.live -= 1;
        Some(value)
    }

    /// How many objects are held, for `native-info` and the leak tests.
    pub(crate) fn live(&self) -> usize {
        faults::point();
        self.slots.lock().live
    }
}

fn join(generation: u32, index: u32) -> i64 {
    (i64::from(generation) << 32) | i64::from(index)
}

fn split(handle: i64) -> (u32, u32) {
    ((handle >> 32) as u32, handle as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_handle_finds_nothing_even_when_its_slot_is_used_again() {
        let table = HandleTable::new();
        let first = table.insert("a");
        assert_eq!(table.remove(first), Some("a"));
        let second = table.insert("b");
        assert_eq!(split(first).1, split(second).1, "the slot is reused");
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        assert_eq!(table.get(second), Some("b"));
    }

    #[test]
    fn zero_is_no_handle_even_after_the_generations_have_run_out() {
        let table = HandleTable::new();
        table.remove(table.insert("a"));
        table.slots.lock().entries[0].generation = MAX_GENERATION;
        let last = table.insert("b");
        assert!(last > 0);
        table.remove(last);
        assert!(table.insert("c") > 0);
        assert_eq!(table.get(last), None);
    }

    #[test]
    fn made_up_handles_find_nothing() {
        let table: HandleTable<u8> = HandleTable::new();
        for handle in [0, -1, 1, i64::MAX, i64::MIN, 1 << 32] {
            assert_eq!(table.get(handle), None);
            assert_eq!(table.remove(handle), None);
        }
        assert_eq!(table.live(), 0);
    }
}
