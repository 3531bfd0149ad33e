//! What threads of all teams of a server read and write; see [`super::peers`].

use std::sync::Arc;

use crate::sync::Mutex;
use crate::sync::atomic::{AtomicUsize, Ordering};

/// Room that a team claims at a time, at most.
const ROOM: usize = 64;

/// As little as possible: all processors wait for it.
#[derive(Debug)]
pub(super) struct Board {
    /// How many threads are parked, for each team. Written under its queue's lock.
    parked: Box<[AtomicUsize]>,
    /// How many teams call.
    calling: AtomicUsize,
    /// Room that no team has claimed.
    room: AtomicUsize,
    /// How much a team claims at a time. One that is alone has all, always.
    claim: usize,
    /// Held while room goes from team to team; before a queue's lock.
    pub(super) moving: Mutex<()>,
}

impl Board {
    pub(super) fn new(teams: usize, room: usize) -> Self {
        Self {
            parked: (0..teams).map(|_| AtomicUsize::new(0)).collect(),
            calling: AtomicUsize::new(0),
            room: AtomicUsize::new(room),
            claim: match teams {
                1 => usize::MAX,
                _ => (room / teams / 4).clamp(1, ROOM),
            },
            moving: Mutex::default(),
        }
    }

    pub(super) fn is_alone(&self) -> bool {
        self.parked.len() == 1
    }

    pub(super) fn claim(&self) -> usize {
        let left = |room: usize| Some(room.saturating_sub(self.claim));
        let claim = self
            .room
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
        claim.map_or(0, |room| room.min(self.claim))
    }

    pub(super) fn seat(self: &Arc<Self>, team: usize) -> Seat {
        Seat {
            board: self.clone(),
            team,
            calls: false,
        }
    }

    pub(super) fn has_parked(&self, team: usize) -> bool {
        self.parked[team].load(Ordering::SeqCst) > 0
    }

    pub(super) fn is_called(&self) -> bool {
        self.calling.load(Ordering::SeqCst) > 0
    }
}

/// A team's place on the board.
#[derive(Debug)]
pub(super) struct Seat {
    board: Arc<Board>,
    team: usize,
    calls: bool,
}

impl Seat {
    pub(super) fn calls(&self) -> bool {
        self.calls
    }

    pub(super) fn note_parked(&self, threads: usize) {
        if !self.board.is_alone() {
            self.board.parked[self.team].store(threads, Ordering::SeqCst);
        }
    }

    /// Calls, if there is another team.
    pub(super) fn call(&mut self) {
        if !self.calls && !self.board.is_alone() {
            self.calls = true;
            self.board.calling.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn end_call(&mut self) {
        if std::mem::take(&mut self.calls) {
            self.board.calling.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Returns room of which this team has too much.
    pub(super) fn share_room(&self, own: &mut usize) {
        let claim = self.board.claim;
        if *own > claim.saturating_mul(2) {
            *own -= claim;
            self.board.room.fetch_add(claim, Ordering::Relaxed);
        }
    }
}
