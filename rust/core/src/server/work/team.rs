//! A server's loops and threads, in teams.
//!
//! What loops hand to threads that pull goes through a lock, which every request takes three times. Some ten processors
//! do not wait for each other there; more would. So they form teams, each with loops, threads and a queue of its own,
//! that do without each other as long as none is short of threads ([`super::peers`]). By default, up to 15 processors
//! have one team: there, a thread that is free takes whatever comes next.
//!
//! If work is pushed, each loop is a team, and pushes what comes to it: none has to wake another for that.

use std::time::Duration;

use tokio::sync::Notify;

use super::leader::Loops;
use super::queue::{Mode, Settings, WorkQueue};
use crate::sync::Instant;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// A team with threads that pull has at least as many loops.
const LOOPS: usize = 4;
/// And as many such threads, once all that are kept have been started.
const THREADS: usize = 8;

/// One of a server's teams.
#[derive(Debug)]
pub(in crate::server) struct Team<T> {
    pub(in crate::server) queue: WorkQueue<T>,
    pub(in crate::server) loops: Loops,
    /// Work was pushed; in the first team, also: upcalls are due.
    pub(in crate::server) attention: Notify,
}

/// All teams of a server.
#[derive(Debug)]
pub(in crate::server) struct Teams<T> {
    teams: Box<[Team<T>]>,
    /// Threads that have joined one so far.
    joined: AtomicUsize,
}

/// How many teams a server with as many loops has.
fn teams(loops: usize, settings: &Settings) -> usize {
    let teams = match settings.mode {
        Mode::Pull => {
            let threads = settings.threads.min(settings.kept);
            (loops / LOOPS).min(threads / THREADS)
        }
        Mode::Push => loops,
    };
    teams.max(1)
}

impl<T: Send + 'static> Teams<T> {
    pub(in crate::server) fn new(loops: usize, settings: Settings) -> Self {
        Self::of(teams(loops, &settings), settings)
    }

    pub(in crate::server) fn of(teams: usize, settings: Settings) -> Self {
        let team = |queue| Team {
            queue,
            loops: Loops::default(),
            attention: Notify::new(),
        };
        Self {
            teams: WorkQueue::of(teams, settings).map(team).collect(),
            joined: AtomicUsize::new(0),
        }
    }

    /// How many there are.
    pub(in crate::server) fn len(&self) -> usize {
        self.teams.len()
    }

    /// The team of the loop with this number.
    pub(in crate::server) fn of_loop(&self, event_loop: usize) -> &Team<T> {
        &self.teams[event_loop % self.teams.len()]
    }

    /// The next item for this thread, as [`WorkQueue::take`] says. It stays in the team that it has joined first.
    pub(in crate::server) fn take(&self) -> Option<T> {
        let team = match &*self.teams {
            [only] => only,
            teams => {
                let own = teams.iter().find(|team| team.queue.has_joined());
                own.unwrap_or_else(|| self.smallest())
            }
        };
        team.queue.take(&team.loops)
    }

    /// A team with the fewest threads; not the same one for threads that look together.
    fn smallest(&self) -> &Team<T> {
        let first = self.joined.fetch_add(1, Ordering::Relaxed);
        let teams = (0..self.len()).map(|i| self.of_loop(first.wrapping_add(i)));
        let smallest = teams.min_by_key(|team| team.queue.load().2);
        smallest.unwrap_or_else(|| self.of_loop(first))
    }

    /// Refuses all further work; threads end once all queues are empty.
    pub(in crate::server) fn shut(&self) {
        self.teams.iter().for_each(|team| team.queue.shut());
        self.teams.iter().for_each(|team| team.queue.wake_all());
    }

    /// Makes all loops' own threads check the state again.
    pub(in crate::server) fn alert(&self) {
        self.teams.iter().for_each(|team| team.loops.alert());
    }

    /// See [`WorkQueue::drain_surplus`].
    pub(in crate::server) fn drain_surplus(&self) -> Vec<T> {
        let teams = self.teams.iter();
        teams.flat_map(|team| team.queue.drain_surplus()).collect()
    }

    /// Takes all queued items.
    pub(in crate::server) fn drain(&self) -> Vec<T> {
        let teams = self.teams.iter();
        teams.flat_map(|team| team.queue.drain()).collect()
    }

    /// How many items are queued, the age of the oldest, and how many threads take them.
    pub(in crate::server) fn load(&self) -> (usize, Duration, usize) {
        let now = Instant::now();
        let mut load = (0, Duration::ZERO, 0);
        for team in &self.teams {
            let (items, since, threads) = team.queue.load();
            let age = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            load = (load.0 + items, load.1.max(age), load.2 + threads);
        }
        load
    }
}
