//! One request in flight: its limits, and the guarantee that its end is reported exactly once.

use super::control::Control;
use super::error::{CallError, ErrorKind};
use super::key::PoolKey;
use super::shared::Shared;
use super::sink::CallId;
use super::spec::{CallSpec, Millis};
use super::stats::Stats;
use super::timer::Timer;
use crate::net::hosted::TransportId;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use tokio::time::Instant;

/// One request in flight. It reports its end to the sink once, at the latest when it is dropped, so that a lost task
/// does not leave its caller waiting.
pub(super) struct Call {
    pub id: CallId,
    pub spec: Box<CallSpec>,
    pub key: Arc<PoolKey>,
    pub control: Arc<Control>,
    /// Start of the connect clock: the submission, or the last stale retry.
    pub since: Instant,
    deadline: Option<Instant>,
    shared: Arc<Shared>,
    settled: bool,
}

impl Call {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: CallId,
        spec: Box<CallSpec>,
        since: Instant,
    ) -> Self {
        let control = Arc::new(Control::default());
        let window = i64::try_from(spec.window).unwrap_or(i64::MAX);
        control.credit.store(window, Relaxed);
        Stats::add(&shared.stats.calls, 1);
        Stats::add(&shared.stats.active, 1);
        shared.calls.register(id, control.clone());
        Self {
            id,
            key: Arc::new(PoolKey::of(&spec)),
            control,
            since,
            deadline: spec.timeouts.deadline.map(|(rest, _)| rest.after(since)),
            spec,
            shared,
            settled: false,
        }
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Whether it may use a pooled connection, and return its connection to the pool.
    pub(super) fn takes_pooled(&self) -> bool {
        self.spec.timeouts.keepalive.0 > 0
    }

    pub(super) fn keepalive_until(&self) -> Instant {
        self.spec.timeouts.keepalive.after(Instant::now())
    }

    /// When a queued call times out, and with which error.
    pub(super) fn queue_limit(&self) -> Limit {
        let connect = self.connect_limit(self.since);
        match self.spec.timeouts.pool {
            Some(pool) => connect.min(Limit {
                at: pool.after(self.since),
                what: "pool timeout",
                shown: pool,
            }),
            None => connect,
        }
    }

    /// When a connection attempt that began at `start` times out.
    pub(super) fn connect_limit(&self, start: Instant) -> Limit {
        let connect = self.spec.timeouts.connect;
        self.with_deadline(Limit::of_peer(connect, start, "connect timeout"))
    }

    /// When silence since `last` ends the call. `last` is `None` while the silence is not the peer's fault.
    pub(super) fn idle_limit(&self, last: Option<Instant>) -> Option<Limit> {
        let idle = last.map(|last| Limit::of_peer(self.spec.timeouts.idle, last, "idle timeout"));
        match idle {
            Some(idle) => Some(self.with_deadline(idle)),
            None => self.deadline_limit(),
        }
    }

    /// When to look, after `last`, whether the peer has taken some of what was written; `None` if that is unknown, or
    /// there is no body, and so hardly anything to take.
    pub(super) fn look_after(&self, last: Instant) -> Option<Instant> {
        let known = self.shared.config.unsent.is_some();
        (known && self.spec.has_body()).then(|| self.spec.timeouts.idle.look(last))
    }

    fn with_deadline(&self, limit: Limit) -> Limit {
        match self.deadline_limit() {
            Some(deadline) => limit.min(deadline),
            None => limit,
        }
    }

    fn deadline_limit(&self) -> Option<Limit> {
        let (_, shown) = self.spec.timeouts.deadline?;
        Some(Limit {
            at: self.deadline?,
            what: "deadline",
            shown,
        })
    }

    /// The error of a call whose deadline has passed by `now`.
    pub(super) fn overdue(&self, now: Instant) -> Option<CallError> {
        let limit = self.deadline_limit()?;
        (limit.at < now).then(|| limit.error())
    }

    /// Reports a failure; the connection must be closed by now.
    pub(super) fn fail(mut self, error: &CallError, transport: Option<TransportId>) {
        self.settle();
        self.shared.report(self.id, error, transport);
    }

    /// The end is about to be reported to the sink; no upcall may follow it.
    pub(super) fn settle(&mut self) {
        if !self.settled {
            self.settled = true;
            Stats::sub(&self.shared.stats.active, 1);
            self.shared.calls.unregister(self.id);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        self.settle();
        let error = match self.shared.stopping.load(Relaxed) {
            true => CallError::stopped(),
            false => CallError::internal("the task of this request was lost"),
        };
        self.shared.report(self.id, &error, None);
    }
}

/// A point in time, and the timeout that it stands for.
#[derive(Clone, Copy)]
pub(super) struct Limit {
    pub at: Instant,
    what: &'static str,
    shown: Millis,
}

impl Limit {
    fn of_peer(millis: Millis, start: Instant, what: &'static str) -> Self {
        Self {
            at: millis.patience(start),
            what,
            shown: millis,
        }
    }

    fn min(self, other: Self) -> Self {
        if other.at < self.at { other } else { self }
    }

    /// Its error once it has passed; bytes moved, or the wait began, at `last`.
    pub(super) fn poll(
        &self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        last: Instant,
    ) -> Poll<CallError> {
        timer.poll_limit(cx, last, self.at).map(|()| self.error())
    }

    pub(super) fn error(&self) -> CallError {
        let text = format!("{}: {}ms", self.what, self.shown.0);
        CallError::new(ErrorKind::Timeout, text)
    }
}
