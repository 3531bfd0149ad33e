//! The loop: takes commands, assigns calls to connections, and returns connections to the pool.

use super::call::Call;
use super::connect::{self, Conn};
use super::control::Control;
use super::error::CallError;
use super::exchange::{self, Ended};
use super::key::PoolKey;
use super::permit::{Permit, SharedPool};
use super::pool::{Limits, Next, Pool, Queued};
use super::seat::{Handed, Parked, Seat, Woken};
use super::shared::Shared;
use super::sink::{CallId, Sink};
use super::spec::{CallSpec, ClientConfig};
use super::stats::Stats;
use crate::net::hosted::TransportId;
use crate::net::tls::TlsContext;
use bytes::Bytes;
use parking_lot::RwLock;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

/// A request from another thread to the loop.
pub(super) enum Command {
    Call(CallId, Box<CallSpec>, Instant),
    /// A call that no idle connection has served.
    Serve(Call),
    Credit(CallId, usize),
    Cancel(CallId),
    Send(CallId, Bytes, bool),
    SendFailed(CallId),
    Tls(Arc<TlsContext>),
    Ready(TransportId),
    Failed(TransportId),
    Received(TransportId, Bytes),
    Eof(TransportId),
    Written(TransportId, usize),
    Stop,
}

/// Assigns calls to connections, and returns connections to the pool.
pub(super) struct Engine {
    shared: Arc<Shared>,
    pool: Arc<SharedPool>,
    /// Calls, and a stop, that the loop has not taken yet: no caller may overtake them.
    waiting: AtomicUsize,
}

/// Calls may overtake what this counts once it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Engine {
    pub(super) fn new(sink: Arc<dyn Sink>, stats: Arc<Stats>, config: ClientConfig) -> Arc<Self> {
        let limits = Limits {
            total: config.max_connections,
            per_host: config.max_per_host,
        };
        Arc::new(Self {
            pool: SharedPool::new(Pool::new(limits), stats.clone()),
            shared: Shared::new(sink, stats, config),
            waiting: AtomicUsize::new(0),
        })
    }

    fn dispatch(self: &Arc<Self>, command: Command) {
        match command {
            Command::Call(id, spec, since) => {
                self.submit(self.accept(id, spec, since));
            }
            Command::Serve(call) => {
                let _waiting = Waiting(&self.waiting);
                match call.control.broken() {
                    Ok(()) => self.submit(call),
                    Err(error) => call.fail(&error, None),
                }
            }
            Command::Credit(id, n) => self.shared.calls.change(id, |control| {
                let n = i64::try_from(n).unwrap_or(i64::MAX);
                let credit = control.credit.load(Relaxed).saturating_add(n);
                control.credit.store(credit, Relaxed);
            }),
            Command::Cancel(id) => self.end(id, |control| control.cancelled.store(true, Relaxed)),
            Command::Send(id, data, last) => self.shared.calls.change(id, |control| {
                control.upload.lock().push_back((data, last));
            }),
            Command::SendFailed(id) => {
                self.end(id, |control| control.source_failed.store(true, Relaxed));
            }
            Command::Tls(context) => *self.shared.tls.lock() = Some(context),
            Command::Ready(transport) => self.shared.hosted.ready(transport),
            Command::Failed(transport) => self.shared.hosted.failed(transport),
            Command::Received(transport, data) => self.shared.hosted.received(transport, data),
            Command::Eof(transport) => self.shared.hosted.eof(transport),
            Command::Written(transport, n) => self.shared.hosted.written(transport, n),
            Command::Stop => {}
        }
    }

    /// The loop is over: a call that arrives now fails immediately.
    fn refuse(&self, command: Command) {
        match command {
            Command::Call(id, ..) => self.shared.report(id, &CallError::stopped(), None),
            Command::Serve(call) => call.fail(&CallError::stopped(), None),
            _ => {}
        }
    }

    /// The loop is over: its thread may block until the sink has accepted the remaining ends of calls.
    fn tell_at_last(&self) {
        self.shared.untold.tell_at_last(&*self.shared.sink);
    }

    /// Ends a call from outside: its task, or the queue if it has none yet.
    fn end(&self, call: CallId, how: impl FnOnce(&Control)) {
        self.shared.calls.change(call, how);
        if let Some(Queued { call, watch }) = self.pool.with(|pool| pool.remove_queued(call)) {
            watch.abort();
            if let Err(error) = call.control.broken() {
                call.fail(&error, None);
            }
        }
    }

    /// Any thread: a call that is in progress from now on.
    pub(super) fn accept(&self, id: CallId, spec: Box<CallSpec>, since: Instant) -> Call {
        Call::new(self.shared.clone(), id, spec, since)
    }

    /// A caller's thread: serves a call with an idle connection; gives it back if it has to wait for the loop.
    pub(super) fn serve(&self, call: Call) -> Result<(), Call> {
        let result = match self.waiting.load(SeqCst) {
            0 => self.reuse(call, Seat::serve),
            _ => Err(call),
        };
        if result.is_err() {
            self.hold_back();
        }
        result
    }

    /// From now on, calls wait for the loop: until it has taken this one, or for good if that is a stop.
    pub(super) fn hold_back(&self) {
        self.waiting.fetch_add(1, SeqCst);
    }

    fn reuse(
        &self,
        mut call: Call,
        serve: impl Fn(&Arc<Seat>, Call) -> Result<(), Call>,
    ) -> Result<(), Call> {
        while call.takes_pooled()
            && let Some(seat) = self.pool.with(|pool| pool.checkout(&call.key))
        {
            match serve(&seat, call) {
                Ok(()) => return Ok(()),
                Err(back) => call = back,
            }
        }
        Err(call)
    }

    /// Assigns a call to an idle or new connection, or queues it.
    fn submit(self: &Arc<Self>, call: Call) {
        // The loop is awake, so the connection's own task may write.
        let Err(call) = self.reuse(call, |seat, call| seat.give(call)) else {
            return;
        };
        let key = call.key.clone();
        if self
            .pool
            .with(|pool| pool.queued() == 0 && pool.reserve(&key))
        {
            return self.open(call, self.permit(key));
        }
        let id = call.id;
        self.enqueue(call);
        self.pump();
        self.pool.with(|pool| {
            // If the pump did not take the call, it is the last in the queue.
            if pool.is_last(id) {
                pool.evict_for(&key);
            }
        });
    }

    fn enqueue(self: &Arc<Self>, call: Call) {
        let (engine, id, limit) = (self.clone(), call.id, call.queue_limit());
        let watch = tokio::spawn(async move {
            tokio::time::sleep_until(limit.at).await;
            if let Some(late) = engine.pool.with(|pool| pool.remove_queued(id)) {
                late.call.fail(&limit.error(), None);
            }
        });
        let watch = watch.abort_handle();
        self.pool.with(|pool| pool.enqueue(Queued { call, watch }));
    }

    /// Opens connections for queued calls while there is room.
    fn pump(self: &Arc<Self>) {
        while let Some(queued) = self.pool.with(Pool::next_opened) {
            queued.watch.abort();
            let permit = self.permit(queued.call.key.clone());
            self.open(queued.call, permit);
        }
    }

    fn permit(&self, key: Arc<PoolKey>) -> Permit {
        Permit::new(self.pool.clone(), key)
    }

    /// Opens a connection, and serves `call` on it.
    fn open(self: &Arc<Self>, call: Call, permit: Permit) {
        Stats::add(&self.shared.stats.opened, 1);
        let engine = self.clone();
        tokio::spawn(async move {
            // Boxed: the state of a handshake is large, and this task lives as long as the connection.
            match Box::pin(connect::open(&call, permit)).await {
                Ok(conn) => serve(&engine, call, Box::new(conn)).await,
                Err(failure) => call.fail(&failure.error, failure.transport),
            }
        });
    }

    /// The next call for a free connection, which is parked until one comes; `None` if it was closed. `deliver` tells of
    /// the last one once the connection is parked: whom it tells may call again at once.
    async fn next_call(
        &self,
        conn: Box<Conn>,
        expiry: Instant,
        deliver: impl FnOnce(),
    ) -> Option<Woken> {
        match self.pool.with(|pool| pool.next_for(&conn.key)) {
            Next::Serve(Queued { call, watch }) => {
                watch.abort();
                deliver();
                Some((Ok(conn), Handed { call, sent: None }))
            }
            Next::GiveWay => {
                deliver();
                None
            }
            Next::None => {
                let parked = Parked::new(self.pool.clone(), conn, expiry);
                parked.wait(deliver).await
            }
        }
    }
}

/// Serves `call`, then further calls assigned to the same connection.
///
/// Because of the order of the parameters, a dropped task closes its connection before it reports its call.
async fn serve(engine: &Arc<Engine>, mut call: Call, mut conn: Box<Conn>) {
    let stats = &engine.shared.stats;
    let mut sent = None;
    loop {
        if conn.served > 0 {
            // Nothing was written to it, so any method may use another connection: in the place of the lost one, since
            // others would overtake a call that waits for one again.
            if sent.is_none() && conn.is_lost().await {
                return engine.open(call, conn.close());
            }
            Stats::add(&stats.reused, 1);
        }
        match exchange::run(&mut conn, &call, sent).await {
            Ended::Complete(response) if response.reusable && call.takes_pooled() => {
                let expiry = call.keepalive_until();
                conn.served += 1;
                let deliver = || response.deliver(call);
                match engine.next_call(conn, expiry, deliver).await {
                    Some((Ok(same), next)) => (conn, call, sent) = (same, next.call, next.sent),
                    Some((Err(place), next)) => return engine.open(next.call, place),
                    None => return,
                }
            }
            Ended::Complete(response) => {
                drop(conn);
                return response.deliver(call);
            }
            Ended::Stale => {
                let place = conn.close();
                Stats::add(&stats.retries, 1);
                call.since = Instant::now();
                return engine.open(call, place);
            }
            Ended::Failed(error) => {
                let transport = conn.transport;
                drop(conn);
                return call.fail(&error, transport);
            }
        }
    }
}

/// Runs the loop on this thread until a stop; see [`super::Client::run`].
///
/// `open` has the engine while callers may use it.
pub(super) fn run(
    engine: Arc<Engine>,
    mut inbox: UnboundedReceiver<Command>,
    open: &RwLock<Option<Arc<Engine>>>,
) -> io::Result<()> {
    let (runtime, first) = match runtime(&engine, &mut inbox) {
        Ok(made) => made,
        Err(error) => {
            inbox.close();
            while let Some(command) = inbox.blocking_recv() {
                engine.refuse(command);
            }
            engine.tell_at_last();
            return Err(error);
        }
    };
    let opened = Opened::new(open, &engine);
    runtime.block_on(turn(engine.clone(), first, &mut inbox));
    drop(opened);
    engine.shared.stopping.store(true, Relaxed);
    // Drops the connections' tasks, each of which reports its call.
    drop(runtime);
    for queued in engine.pool.with(Pool::clear) {
        queued.call.fail(&CallError::stopped(), None);
    }
    inbox.close();
    // Commands sent while the loop stopped: every call must be told its end.
    while let Some(command) = inbox.blocking_recv() {
        engine.refuse(command);
    }
    engine.tell_at_last();
    Ok(())
}

/// Lets callers use the engine. Dropped, it waits for those that do, and there are none from then on.
struct Opened<'a>(&'a RwLock<Option<Arc<Engine>>>);

impl<'a> Opened<'a> {
    fn new(open: &'a RwLock<Option<Arc<Engine>>>, engine: &Arc<Engine>) -> Self {
        *open.write() = Some(engine.clone());
        Self(open)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        *self.0.write() = None;
    }
}

/// A runtime, and the command to execute first. While no runtime can be made, usually because the process is out of
/// descriptors, calls fail, and each one tries again: the client must recover. `Err` after a stop.
fn runtime(
    engine: &Arc<Engine>,
    inbox: &mut UnboundedReceiver<Command>,
) -> io::Result<(Runtime, Option<Command>)> {
    let mut first = None;
    loop {
        match (Builder::new_current_thread().enable_all().build(), first) {
            (Ok(runtime), first) => return Ok((runtime, first)),
            (Err(error), Some(Command::Stop)) => return Err(error),
            (Err(error), Some(Command::Call(call, ..))) => {
                let error = CallError::from_io(&error);
                engine.shared.report(call, &error, None);
            }
            (Err(_), Some(command)) => engine.dispatch(command),
            (Err(_), None) => {}
        }
        engine.tell_at_last();
        first = Some(inbox.blocking_recv().unwrap_or(Command::Stop));
    }
}

async fn turn(engine: Arc<Engine>, first: Option<Command>, inbox: &mut UnboundedReceiver<Command>) {
    let pumped = engine.clone();
    tokio::spawn(async move {
        loop {
            pumped.pool.room().await;
            pumped.pump();
        }
    });
    let shared = engine.shared.clone();
    tokio::spawn(async move { shared.untold.keep_telling(&*shared.sink).await });
    let mut next = match first {
        Some(first) => Some(first),
        None => inbox.recv().await,
    };
    while let Some(command) = next {
        if matches!(command, Command::Stop) {
            return;
        }
        // A bug of ours costs one command, never the loop.
        let _ = catch_unwind(AssertUnwindSafe(|| engine.dispatch(command)));
        next = inbox.recv().await;
    }
}
