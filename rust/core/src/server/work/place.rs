//! How many threads a queue has, and where each is counted.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use crate::sync::{Instant, Mutex, MutexGuard, thread_local};

thread_local! {
    pub(super) static PLACE: RefCell<Place> = const { RefCell::new(Place::none()) };
}

/// The threads of a queue.
#[derive(Debug, Default)]
pub(super) struct Crew {
    /// Threads that have a [`Place`] here.
    pub(super) threads: usize,
    /// Those that run user code, look for work or have been woken: all that are neither parked nor run a loop. It only
    /// decides whether a thread yields before it parks, so a thread that never returns may be counted until it ends.
    pub(super) awake: usize,
    /// Those that have taken work and not returned. A thread that serves the next pipelined request directly, past the
    /// queue, counts as well: it is not here to take work.
    pub(super) busy: usize,
    /// How many there may be.
    most: usize,
    /// How many more items may be queued. Each takes some room, from when it is queued until the thread that has taken
    /// it returns, or at once if that thread is none of the `most`.
    pub(super) room: usize,
}

impl Crew {
    pub(super) fn of(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// A thread has taken work.
    pub(super) fn begin(&mut self) {
        self.busy += 1;
        self.room += usize::from(self.busy > self.most);
    }

    /// It has returned, or ended.
    fn end(&mut self) {
        self.room += usize::from(self.busy <= self.most);
        self.busy -= 1;
    }
}

/// Something that has a crew.
pub(super) trait Staffed: Send {
    fn crew(&mut self) -> &mut Crew;
}

/// The same, as an object-safe trait without the item type.
trait Roster: Send + Sync {
    fn leave(&self, busy: bool);
}

impl<S: Staffed> Roster for Mutex<S> {
    fn leave(&self, busy: bool) {
        let mut staffed = self.lock();
        let crew = staffed.crew();
        crew.threads -= 1;
        crew.awake -= 1;
        if busy {
            crew.end();
        }
    }
}

/// Where this thread is counted, from its first look for work until it leaves or ends.
#[derive(Default)]
pub(super) struct Place {
    queue: Option<Weak<dyn Roster>>,
    /// It has taken work and not returned.
    pub(super) busy: bool,
    /// When it took that, if it is worth knowing how long it takes.
    pub(super) since: Option<Instant>,
}

/// See [`Server::note_direct_work`](crate::server::Server::note_direct_work).
pub(in crate::server) fn note_direct_work() {
    PLACE.with(|place| place.borrow_mut().since = None);
}

impl Place {
    pub(super) const fn none() -> Self {
        Self {
            queue: None,
            busy: false,
            since: None,
        }
    }

    pub(super) fn is_in<S>(&self, queue: &Arc<Mutex<S>>) -> bool {
        let here = Arc::as_ptr(queue).addr();
        matches!(&self.queue, Some(queue) if queue.as_ptr().addr() == here)
    }

    /// Counts this thread as awake and not busy.
    pub(super) fn enter<'a, S: Staffed + 'static>(
        &mut self,
        queue: &'a Arc<Mutex<S>>,
    ) -> MutexGuard<'a, S> {
        let stays = self.is_in(queue);
        if !stays {
            // Leaves the queue that it was counted in before.
            *self = Self::none();
            let queue: Weak<dyn Roster> = Arc::downgrade(queue) as Weak<_>;
            self.queue = Some(queue);
        }
        let mut staffed = queue.lock();
        let crew = staffed.crew();
        if !stays {
            crew.threads += 1;
            crew.awake += 1;
        }
        if std::mem::take(&mut self.busy) {
            crew.end();
        }
        staffed
    }

    /// Counts this thread out, which is parked.
    pub(super) fn leave(&mut self, crew: &mut Crew) {
        crew.threads -= 1;
        self.queue = None;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.as_ref().and_then(Weak::upgrade) {
            queue.leave(self.busy);
        }
    }
}
