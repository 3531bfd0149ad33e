//! How work reaches the threads that run it, and which thread runs a loop meanwhile (leader/followers).
//!
//! Knows no sockets and no requests. [`queue`] holds the queued work and the threads that pull it, [`leader`] decides
//! which thread runs which loop, [`pace`] whether it keeps up, and [`pressure`] when more threads are needed. On a large
//! machine there are several queues, each with its own threads and loops ([`team`]), and [`peers`] help each other.
//!
//! # A thread that pulls
//!
//! | state | counted in | what it does | left for | by whom |
//! |---|---|---|---|---|
//! | awake | `awake` | looks for work in [`queue::WorkQueue::take`] | busy, leading or parked | itself |
//! | busy | `awake`, `busy` | has taken work and not returned: runs user code | awake | itself, when it returns |
//! | leading | `leading` | runs a loop until that brings work | awake | the thread that takes it off `leading`, under the queue's lock, and then wakes it; itself if the loop panics |
//! | parked | `parked` | nothing | awake | the thread that takes it off `parked`, under the queue's lock, and then wakes it; itself when it has been idle for `keep_alive`, is one too many, or sees that another team calls as it parks, and is still on the list |
//!
//! A thread is on at most one of the lists. The thread that takes it off has decided to wake it and counts it as awake
//! in the same step, so two pushes never count on the same thread.
//!
//! # A loop
//!
//! | state | what holds | left for | by whom |
//! |---|---|---|---|
//! | owned | its own thread holds the runtime and runs it; `owned` | standing still | its own thread, asked by a worker that is out of work |
//! | led | a worker holds the runtime; `turns` is odd | standing still | this worker, when the loop has brought it work, or it was woken |
//! | standing still | no thread holds the runtime; `turns` is even; its own thread watches | led, or owned | a worker that is out of work; its own thread, after [`pace::STALL_LIMIT`] or while workers back off |
//!
//! While workers *back off* (all loops of a team together, see [`leader::Loops`]) no loop becomes led, and those that
//! stand still become owned immediately. A led loop stays led until it brings work.
//!
//! # Locks and order
//!
//! A loop's runtime, or the lock that guards room on its way between teams; then a single queue; then one of these: the
//! list of loops, the back-off, a parked thread's waker. Under the queue's lock, a worker that is out of work looks for
//! a loop ([`leader::Loops::try_lead`]): it tries the runtimes, waiting for none, and may wake loops' own threads. No
//! other thread is woken there, and nothing is awaited.

mod board;
mod inner;
mod leader;
mod pace;
mod parked;
mod peers;
mod place;
pub(in crate::server) mod pressure;
mod queue;
mod team;
#[cfg(test)]
mod tests;

pub(in crate::server) use inner::Pushed;
pub(in crate::server) use leader::Owner;
pub(in crate::server) use place::note_direct_work;
pub use queue::Mode;
pub(in crate::server) use queue::Settings;
pub(in crate::server) use team::{Team, Teams};
