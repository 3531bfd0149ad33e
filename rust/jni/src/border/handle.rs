//! Java's names for Rust objects: a slot and a generation, never an address.
//!
//! A stale handle is ordinary use (`send!` after the peer has disconnected, from any thread), so it must find nothing
//! instead of another object: every removal bumps the slot's generation, and a lookup compares it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::faults;

/// Number of shards. Each thread adds to one of them, and a worker mostly uses what it has added itself: with at most
/// this many threads, the lock and the slots of a request stay in one core's cache.
const SHARDS: usize = 64;

/// Objects that Java holds by handle. Zero is never a handle.
pub(crate) struct HandleTable<T> {
    /// Made when first used: most tables of a process hold nothing.
    shards: OnceLock<Box<[Shard<T>]>>,
}

/// On a cache line of its own.
#[repr(align(64))]
struct Shard<T>(Mutex<Slots<T>>);

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

/// The shard of every table that this thread adds to.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    OWN.with(|own| *own)
}

impl<T: Clone> HandleTable<T> {
    pub(crate) const fn new() -> Self {
        Self {
            shards: OnceLock::new(),
        }
    }

    pub(crate) fn insert(&self, value: T) -> i64 {
        faults::point();
        let shard = own_shard();
        let (generation, slot) = self.made()[shard].0.lock().insert(value);
        join(generation, slot * SHARDS as u32 + shard as u32)
    }

    /// `None` for a stale or made-up handle.
    pub(crate) fn get(&self, handle: i64) -> Option<T> {
        faults::point();
        let (generation, index) = split(handle);
        let slots = self.shard(index)?.lock();
        slots.entry(generation, index)?.value.clone()
    }

    /// The result of `f` for the object; `stale` if there is none any more.
    pub(crate) fn with<R>(&self, handle: i64, stale: R, f: impl FnOnce(&T) -> R) -> R {
        match self.get(handle) {
            Some(value) => f(&value),
            None => stale,
        }
    }

    /// Removes the object; only the first call for a handle gets it.
    pub(crate) fn remove(&self, handle: i64) -> Option<T> {
        let removed = self.take_out(handle);
        faults::point();
        removed
    }

    fn take_out(&self, handle: i64) -> Option<T> {
        let (generation, index) = split(handle);
        self.shard(index)?.lock().remove(generation, index)
    }

    /// How many objects are held, for `native-info` and the leak tests.
    pub(crate) fn live(&self) -> usize {
        faults::point();
        let shards = self.shards.get().into_iter().flatten();
        shards.map(|shard| shard.0.lock().live).sum()
    }

    fn made(&self) -> &[Shard<T>] {
        self.shards.get_or_init(|| {
            let empty = || Shard(Mutex::new(Slots::new()));
            std::iter::repeat_with(empty).take(SHARDS).collect()
        })
    }

    /// `None` before the first [`Self::insert`].
    fn shard(&self, index: u32) -> Option<&Mutex<Slots<T>>> {
        let shards = self.shards.get()?;
        Some(&shards[index as usize % SHARDS].0)
    }
}

impl<T> Slots<T> {
    const fn new() -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            live: 0,
        }
    }

    /// Returns the slot's generation and its index.
    fn insert(&mut self, value: T) -> (u32, u32) {
        self.live += 1;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                // Generation 1, so that the first slot is not handle 0.
                self.entries.push(Entry {
                    generation: 1,
                    value: None,
                });
                (self.entries.len() - 1) as u32
            }
        };
        let entry = &mut self.entries[slot as usize];
        entry.value = Some(value);
        (entry.generation, slot)
    }

    fn entry(&self, generation: u32, index: u32) -> Option<&Entry<T>> {
        let entry = self.entries.get(index as usize / SHARDS)?;
        (entry.generation == generation).then_some(entry)
    }

    fn remove(&mut self, generation: u32, index: u32) -> Option<T> {
        self.entry(generation, index)?;
        let slot = index as usize / SHARDS;
        let entry = &mut self.entries[slot];
        let value = entry.value.take()?;
        // 31 bits, so that handles stay positive; a handle would have to be kept over two billion reuses of its slot to
        // be mistaken. Never 0: a busy server gets there in a day, and slot 0 must not become handle 0.
        entry.generation = entry.generation % MAX_GENERATION + 1;
        self.free.push(slot as u32);
        self.live -= 1;
        Some(value)
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
        table.made()[own_shard()].0.lock().entries[0].generation = MAX_GENERATION;
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

    /// What 32 cores would feel is seen on any machine: whether a thread takes a lock that another one had before it,
    /// so that lock and slots come from another core's cache. Each request adds, uses and removes its handle.
    #[test]
    fn requests_of_as_many_threads_as_a_large_machine_has_share_no_shard() {
        const THREADS: usize = if cfg!(miri) { 8 } else { 40 };
        let together = std::sync::Barrier::new(THREADS);
        let table = HandleTable::new();
        let shards = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (table, shards, together) = (&table, &shards, &together);
                scope.spawn(move || {
                    let handle = table.insert(thread);
                    assert_eq!(table.get(handle), Some(thread));
                    shards.lock().push(split(handle).1 as usize % SHARDS);
                    // All hold one, so equal shards are not due to an end of the thread before.
                    together.wait();
                    assert_eq!(table.remove(handle), Some(thread));
                });
            }
        });
        let mut shards = shards.into_inner();
        shards.sort_unstable();
        shards.dedup();
        assert_eq!(shards.len(), THREADS);
    }

    /// Threads that add objects, and use and remove those of all. Under Miri, with many schedules.
    #[test]
    fn each_object_is_removed_once_and_a_handle_never_finds_another() {
        const THREADS: u64 = 3;
        const ROUNDS: u64 = if cfg!(miri) { 12 } else { 20_000 };
        let table = HandleTable::new();
        let known = Mutex::new(Vec::new());
        let removed = AtomicUsize::new(0);
        let work = |thread: u64| {
            for round in 0..ROUNDS {
                let object = thread * ROUNDS + round;
                let handle = table.insert(object);
                let others = {
                    let mut known = known.lock();
                    known.push((handle, object));
                    let at = (object.wrapping_mul(0x9e37_79b9) >> 3) as usize;
                    [known[at % known.len()], known[known.len() / 2]]
                };
                for (handle, object) in others {
                    assert!(table.get(handle).is_none_or(|found| found == object));
                }
                let (handle, object) = others[0];
                if let Some(found) = table.remove(handle) {
                    assert_eq!(found, object);
                    removed.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let work = &work;
                scope.spawn(move || work(thread));
            }
        });
        let inserted = (THREADS * ROUNDS) as usize;
        assert_eq!(table.live(), inserted - removed.load(Ordering::Relaxed));
        for (handle, object) in known.into_inner() {
            assert!(table.remove(handle).is_none_or(|found| found == object));
            assert_eq!(table.get(handle), None);
        }
        assert_eq!(table.live(), 0);
    }
}
