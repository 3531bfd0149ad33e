//! How work gets from the loops to the threads that do it, and who runs a loop meanwhile.
//!
//! Knows no sockets and no requests. [`queue`] holds what waits and the threads that pull it, [`leader`] says who
//! runs which loop, [`pressure`] when more threads are needed.
//!
//! # A thread that pulls
//!
//! | state | counted in | what it does | left for | by whom |
//! |---|---|---|---|---|
//! | awake | `awake` | looks for work in [`WorkQueue::take`] | busy, leading or parked | itself |
//! | busy | `awake`, `busy` | has taken work and not come back: runs user code | awake | itself, when it comes back |
//! | leading | `leading` | runs a loop until that brings work | awake | who takes it off `leading`, under the queue's lock, and then wakes it; itself if the loop panics |
//! | parked | `parked` | nothing | awake | who takes it off `parked`, under the queue's lock, and then wakes it; itself when it has waited for long, is one too many, and still is on the list |
//!
//! A thread is on at most one of the lists. Who takes it off has decided that it wakes, and counts it as awake there
//! and then: two pushes never count on the same thread.
//!
//! # A loop
//!
//! | state | what holds | left for | by whom |
//! |---|---|---|---|
//! | owned | its own thread holds the runtime and runs it; `owned` | standing still | its own thread, asked by a worker that is out of work |
//! | led | a worker holds the runtime; `turns` is odd | standing still | this worker, when the loop has brought it work, or it was woken |
//! | standing still | no one holds the runtime; `turns` is even; its own thread watches | led, or owned | a worker that is out of work; its own thread, after [`leader::STALL_LIMIT`] or while workers back off |
//!
//! While workers *back off* (all loops of a server together, see [`Loops`]) no loop becomes led, and those that stand
//! still become owned at once. Led loops stay so until they bring work.
//!
//! # Locks and order
//!
//! A loop's runtime, then the queue, then a parked thread's waker. Nothing is awaited and no thread is woken under the
//! queue's lock.

pub(in crate::server) mod leader;
mod parked;
mod place;
pub(in crate::server) mod pressure;
mod queue;
#[cfg(test)]
mod tests;

pub(in crate::server) use leader::{Loops, Owner};
pub use queue::{Mode, WorkQueue};
pub(in crate::server) use queue::{Pushed, Settings};
