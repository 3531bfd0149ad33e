//! The timers of a connection's task, each created when first needed.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::output::LEAST_TAKEN;

/// Longest that bytes stay corked.
const CORK_TIME: Duration = Duration::from_millis(1);
/// Longest wait for the peer to finish sending, after our last response.
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How often a connection that is not being read is checked for a disconnect.
const WATCH_TIME: Duration = Duration::from_millis(250);
/// How often it is checked what a peer has taken, which is how late the end of its time may be noticed: a sixtieth of
/// the time, within these. Each look is a system call and a turn of its task.
const LEAST_LOOK_TIME: Duration = Duration::from_millis(500);
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Time allowed for the peer's close frame after ours (RFC 6455 7.1.1).
const CLOSE_TIME: Duration = Duration::from_secs(3);

/// A peer's time that ends later than this for us starts over: the process was suspended, or its loop held up, and what
/// the peer has sent, or is to get, may still be on its way.
const MOST_LATE: Duration = Duration::from_secs(1);

/// Whether a peer's time that ended at `deadline` starts over, see [`MOST_LATE`].
pub(super) fn starts_over(deadline: Instant) -> bool {
    deadline.elapsed() > MOST_LATE
}

/// Timers that only the task needs, and only in rare states.
#[derive(Default)]
pub(super) struct Timers {
    /// Indexed by [`Wait`]. Each has its own: in a shared one, resets for one purpose would delay the other forever.
    sleeps: [Option<Pin<Box<Sleep>>>; WAITS],
    /// For a silent WebSocket peer, see `Session::patience`.
    peer: Option<Pin<Box<Sleep>>>,
    /// For a peer that has ended its side, or the next heartbeat of a stream, which ends with that side.
    deadline: Option<Pin<Box<Sleep>>>,
    unread: Option<Box<Unread>>,
}

fn look_time(time: Duration) -> Duration {
    (time / 60).clamp(LEAST_LOOK_TIME, LOOK_TIME)
}

/// A peer has unread output, and `time` to read some of it.
struct Unread {
    time: Duration,
    /// How much it had taken when that began.
    mark: u64,
    since: Instant,
    /// Until the next look.
    sleep: Pin<Box<Sleep>>,
}

/// Events with a fixed time limit.
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

    /// Whether it is a peer that has to act within the time.
    fn is_of_peer(self) -> bool {
        matches!(self, Self::Linger | Self::CloseFrame)
    }
}

impl Timers {
    /// True once the time of `wait` has passed since the first call; wakes the task then.
    pub(super) fn passed(&mut self, cx: &mut Context<'_>, wait: Wait) -> bool {
        let slot = &mut self.sleeps[wait as usize];
        let sleep = slot.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + wait.time())));
        while sleep.as_mut().poll(cx).is_ready() {
            if !wait.is_of_peer() || !starts_over(sleep.deadline()) {
                *slot = None;
                return true;
            }
            sleep.as_mut().reset(Instant::now() + wait.time());
        }
        false
    }

    /// The awaited event has happened: the next wait starts over.
    pub(super) fn over(&mut self, wait: Wait) {
        self.sleeps[wait as usize] = None;
    }

    /// True once the peer has taken less than [`LEAST_TAKEN`] for `time`, as counted by `taken`.
    pub(super) fn stalled(
        &mut self,
        cx: &mut Context<'_>,
        time: Duration,
        taken: impl Fn() -> u64,
    ) -> bool {
        if self
            .unread
            .as_ref()
            .is_some_and(|unread| unread.time != time)
        {
            self.unread = None;
        }
        let Unread {
            mark, since, sleep, ..
        } = &mut **self.unread.get_or_insert_with(|| {
            let since = Instant::now();
            Box::new(Unread {
                time,
                mark: taken(),
                since,
                sleep: Box::pin(sleep_until(since + time.min(look_time(time)))),
            })
        });
        while sleep.as_mut().poll(cx).is_ready() {
            let (now, so_far) = (Instant::now(), taken());
            if so_far.wrapping_sub(*mark).cast_signed() >= LEAST_TAKEN {
                (*mark, *since) = (so_far, now);
            } else if now >= *since + time {
                return true;
            }
            let next = (*since + time).min(now + look_time(time));
            sleep.as_mut().reset(next);
        }
        false
    }

    /// The peer has taken everything: the next wait starts over.
    pub(super) fn all_taken(&mut self) {
        self.unread = None;
    }

    /// True once `deadline` has passed; it moves whenever something is sent.
    pub(super) fn reached(&mut self, cx: &mut Context<'_>, deadline: Instant) -> bool {
        let sleep = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() != deadline {
            sleep.as_mut().reset(deadline);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// There is no deadline any more.
    pub(super) fn no_deadline(&mut self) {
        self.deadline = None;
    }

    /// Once the peer has been silent for `time`: when that time ended.
    pub(super) fn silent(&mut self, cx: &mut Context<'_>, time: Duration) -> Option<Instant> {
        let peer = self
            .peer
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + time)));
        if peer.as_mut().poll(cx).is_pending() {
            return None;
        }
        let deadline = peer.deadline();
        self.peer = None;
        Some(deadline)
    }

    /// The peer has sent something: the wait starts over.
    pub(super) fn heard(&mut self) {
        self.peer = None;
    }
}
