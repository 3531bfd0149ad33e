//! What a connection's task waits for besides its socket, each made when it is first needed.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::output::LEAST_TAKEN;

/// Corked bytes leave after this at the latest.
const CORK_TIME: Duration = Duration::from_millis(1);
/// How long a connection that has sent its last response waits for the peer to finish sending.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How often a connection whose input is full is checked for having been closed.
const WATCH_TIME: Duration = Duration::from_millis(250);
/// How long a WebSocket's peer may take to respond to our close frame with its own (RFC 6455 7.1.1).
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// What only the task needs, and only in rare states.
#[derive(Default)]
pub(super) struct Timers {
    /// By [`Wait`]. Each has its own: one that took another's place would put that one off forever.
    sleeps: [Option<Pin<Box<Sleep>>>; WAITS],
    /// For a WebSocket's peer that has been silent, see `Session::patience`.
    peer: Option<Pin<Box<Sleep>>>,
    /// For a peer that has ended its side.
    half_closed: Option<Pin<Box<Sleep>>>,
    unread: Option<Unread>,
}

/// A peer has something to read, and `time` to take some of it.
struct Unread {
    time: Duration,
    /// How much it had taken at the beginning.
    mark: u64,
    sleep: Pin<Box<Sleep>>,
}

/// What a connection's task can be waiting for besides its socket.
#[derive(Clone, Copy)]
pub(super) enum Wait {
    Cork,
    Linger,
    Watch,
    CloseFrame,
}

const WAITS: usize = 4;

impl Wait {
    fn time(self) -> Duration {
        match self {
            Self::Cork => CORK_TIME,
            Self::Linger => LINGER_TIME,
            Self::Watch => WATCH_TIME,
            Self::CloseFrame => CLOSE_TIME,
        }
    }
}

impl Timers {
    /// True once the time of `wait` has passed since it was first asked for; the task is woken then.
    pub(super) fn passed(&mut self, cx: &mut Context<'_>, wait: Wait) -> bool {
        let slot = &mut self.sleeps[wait as usize];
        let sleep = slot.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait.time())));
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        *slot = None;
        true
    }

    /// What `wait` was asked for has come about: the next one begins anew.
    pub(super) fn over(&mut self, wait: Wait) {
        self.sleeps[wait as usize] = None;
    }

    /// True once the peer has taken next to nothing for `time`, as `taken` counts, and that `matters`.
    pub(super) fn stalled(
        &mut self,
        cx: &mut Context<'_>,
        time: Duration,
        matters: bool,
        taken: impl Fn() -> u64,
    ) -> bool {
        if self
            .unread
            .as_ref()
            .is_some_and(|unread| unread.time != time)
        {
            self.unread = None;
        }
        let Unread { mark, sleep, .. } = self.unread.get_or_insert_with(|| Unread {
            time,
            mark: taken(),
            sleep: Box::pin(sleep_until(Instant::now() + time)),
        });
        if sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        let now = taken();
        if matters && now.wrapping_sub(*mark).cast_signed() < LEAST_TAKEN {
            return true;
        }
        *mark = now;
        sleep.as_mut().reset(Instant::now() + time);
        sleep.as_mut().poll(cx).is_ready()
    }

    /// The peer has taken everything, or need not: the next wait for it begins anew.
    pub(super) fn all_taken(&mut self) {
        self.unread = None;
    }

    /// True once it is `deadline`, which moves as things are sent to a peer that has ended its side.
    pub(super) fn reached(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self
            .half_closed
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// True once the peer has been silent for `time`.
    pub(super) fn silent(&mut self, cx: &mut Context<'_>, time: Duration) -> bool {
        let peer = self
            .peer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + time)));
        if peer.as_mut().poll(cx).is_pending() {
            return false;
        }
        self.peer = None;
        true
    }

    /// The peer is there: the wait for it begins anew.
    pub(super) fn heard(&mut self) {
        self.peer = None;
    }
}
