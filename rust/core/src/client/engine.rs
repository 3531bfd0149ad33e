//! The loop: commands in, calls to connections, connections to the pool.

use super::call::{Call, Control, PoolKey};
use super::connect::{self, Conn};
use super::error::CallError;
use super::exchange::{self, Ended};
use super::pool::{Limits, Next, Pool, Queued};
use super::{CallId, ClientConfig, Command, Sink, Stats};
use crate::net::foreign::{Foreigners, TransportHost};
use crate::net::tls::TlsContext;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::Instant;

/// Read buffer of the loop; every connection uses it in turn.
const SCRATCH: usize = 64 * 1024;

/// State of the loop, shared by its tasks.
pub(super) struct Engine {
    pub sink: Rc<dyn Sink>,
    pub foreigners: Rc<Foreigners>,
    pub stats: Arc<Stats>,
    pub config: ClientConfig,
    pub tls: RefCell<Option<Arc<TlsContext>>>,
    pub scratch: RefCell<Box<[u8]>>,
    pool: RefCell<Pool>,
    calls: RefCell<HashMap<CallId, Rc<Control>>>,
    stopping: Cell<bool>,
    room: Notify,
}

impl Engine {
    pub(super) fn new(sink: Rc<dyn Sink>, stats: Arc<Stats>, config: ClientConfig) -> Rc<Self> {
        let host: Rc<dyn TransportHost> = sink.clone();
        let limits = Limits {
            total: config.max_connections,
            per_host: config.max_per_host,
        };
        Rc::new(Self {
            sink,
            foreigners: Foreigners::new(host),
            stats,
            config,
            tls: RefCell::new(None),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            pool: RefCell::new(Pool::new(limits)),
            calls: RefCell::default(),
            stopping: Cell::new(false),
            room: Notify::new(),
        })
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.get()
    }

    pub(super) fn register(&self, call: CallId, control: Rc<Control>) {
        self.calls.borrow_mut().insert(call, control);
    }

    pub(super) fn unregister(&self, call: CallId) {
        self.calls.borrow_mut().remove(&call);
    }

    fn with_pool<R>(&self, act: impl FnOnce(&mut Pool) -> R) -> R {
        let mut pool = self.pool.borrow_mut();
        let result = act(&mut pool);
        self.stats.idle.store(pool.idle() as u64, Ordering::Relaxed);
        self.stats
            .queued
            .store(pool.queued() as u64, Ordering::Relaxed);
        result
    }

    fn dispatch(self: &Rc<Self>, command: Command) {
        match command {
            Command::Call(id, spec, since) => {
                self.submit(Call::new(self.clone(), id, spec, since));
            }
            Command::Credit(id, n) => self.pull(id, |control| {
                let n = i64::try_from(n).unwrap_or(i64::MAX);
                control.credit.set(control.credit.get().saturating_add(n));
            }),
            Command::Cancel(id) => self.cancel(id),
            Command::Send(id, data, last) => self.pull(id, |control| {
                control.upload.borrow_mut().push_back((data, last));
            }),
            Command::SendFailed(id) => self.pull(id, |control| control.source_failed.set(true)),
            Command::Tls(context) => *self.tls.borrow_mut() = Some(context),
            Command::Ready(transport) => self.foreigners.ready(transport),
            Command::Failed(transport) => self.foreigners.failed(transport),
            Command::Received(transport, data) => self.foreigners.received(transport, data),
            Command::Eof(transport) => self.foreigners.eof(transport),
            Command::Written(transport, n) => self.foreigners.written(transport, n),
            Command::Stop => {}
        }
    }

    /// The loop is over: a call that still comes has its end at once.
    fn refuse(&self, command: &Command) {
        if let Command::Call(id, ..) = command {
            self.sink.on_failure(*id, &CallError::stopped(), None);
        }
    }

    fn pull(&self, call: CallId, change: impl FnOnce(&Control)) {
        let control = self.calls.borrow().get(&call).cloned();
        if let Some(control) = control {
            change(&control);
            control.wake();
        }
    }

    fn cancel(&self, call: CallId) {
        match self.with_pool(|pool| pool.remove_queued(call)) {
            Some(queued) => {
                queued.watch.abort();
                queued.call.fail(&CallError::cancelled(), None);
            }
            None => self.pull(call, |control| control.cancelled.set(true)),
        }
    }

    /// Brings a call to a connection: an idle one, a new one, or the queue.
    pub(super) fn submit(self: &Rc<Self>, mut call: Call) {
        while call.takes_pooled() {
            let Some(ear) = self.with_pool(|pool| pool.checkout(&call.key)) else {
                break;
            };
            match ear.send(call) {
                Ok(()) => return,
                Err(back) => call = back,
            }
        }
        let key = call.key.clone();
        if self.with_pool(|pool| pool.queued() == 0 && pool.reserve(&key)) {
            return self.open(call);
        }
        let id = call.id;
        self.enqueue(call);
        self.pump();
        self.with_pool(|pool| {
            // Behind the pump, a call that still waits is the last one.
            if pool.is_last(id) {
                pool.evict_for(&key);
            }
        });
    }

    fn enqueue(self: &Rc<Self>, call: Call) {
        let (engine, id, limit) = (self.clone(), call.id, call.queue_limit());
        let watch = spawn_local(async move {
            tokio::time::sleep_until(limit.at).await;
            if let Some(late) = engine.with_pool(|pool| pool.remove_queued(id)) {
                late.call.fail(&limit.error(), None);
            }
        });
        let watch = watch.abort_handle();
        self.with_pool(|pool| pool.enqueue(Queued { call, watch }));
    }

    /// Opens connections for queued calls as far as there is room.
    fn pump(self: &Rc<Self>) {
        while let Some(queued) = self.with_pool(Pool::next_opened) {
            queued.watch.abort();
            self.open(queued.call);
        }
    }

    /// Opens a connection, already reserved, and serves `call` on it.
    fn open(self: &Rc<Self>, call: Call) {
        let permit = Permit::new(self.clone(), call.key.clone());
        spawn_local(async move {
            // Boxed: a handshake's state is large, and this task lives as long
            // as the connection.
            match Box::pin(connect::open(&call, permit)).await {
                Ok(conn) => serve(call, conn).await,
                Err(failure) => call.fail(&failure.error, failure.transport),
            }
        });
    }

    /// Lets a free connection wait for its next call; `None` ends it.
    async fn next_call(self: &Rc<Self>, conn: &mut Conn, expiry: Instant) -> Option<Call> {
        match self.with_pool(|pool| pool.next_for(&conn.key)) {
            Next::Serve(queued) => {
                queued.watch.abort();
                return Some(queued.call);
            }
            Next::GiveWay => return None,
            Next::Nobody => {}
        }
        let (ticket, mut ear) = self.with_pool(|pool| pool.park(conn.key.clone(), expiry));
        let (call, alive) = poll_fn(|cx| {
            let call = match Pin::new(&mut ear).poll(cx) {
                Poll::Ready(Ok(call)) => Some(call),
                Poll::Ready(Err(_)) => return Poll::Ready((None, false)),
                Poll::Pending => None,
            };
            let alive = !conn.spoke(cx) && conn.timer.poll_until(cx, expiry).is_pending();
            match call {
                None if alive => Poll::Pending,
                call => Poll::Ready((call, alive)),
            }
        })
        .await;
        match call {
            Some(call) if alive => Some(call),
            // Nothing was written yet, so that any method may go elsewhere.
            Some(call) => {
                self.submit(call);
                None
            }
            None => {
                self.with_pool(|pool| pool.leave(&conn.key, &ticket));
                None
            }
        }
    }
}

/// Serves `call`, then whatever comes for the same connection.
///
/// The order of the parameters makes a dropped task close its connection
/// before it reports its call.
async fn serve(mut call: Call, mut conn: Conn) {
    loop {
        let engine = call.engine().clone();
        match exchange::run(&mut conn, &call).await {
            Ended::Complete(response) if response.reusable && call.takes_pooled() => {
                let expiry = call.keepalive_until();
                response.deliver(call);
                conn.served += 1;
                match engine.next_call(&mut conn, expiry).await {
                    Some(next) => call = next,
                    None => return,
                }
                Stats::add(&engine.stats.reused, 1);
            }
            Ended::Complete(response) => {
                drop(conn);
                return response.deliver(call);
            }
            Ended::Stale => {
                drop(conn);
                Stats::add(&engine.stats.retries, 1);
                call.since = Instant::now();
                return engine.submit(call);
            }
            Ended::Failed(error) => {
                let transport = conn.transport;
                drop(conn);
                return call.fail(&error, transport);
            }
        }
    }
}

/// The right to one connection, counted until it is closed.
pub(super) struct Permit {
    engine: Rc<Engine>,
    pub key: Rc<PoolKey>,
}

impl Permit {
    fn new(engine: Rc<Engine>, key: Rc<PoolKey>) -> Self {
        Stats::add(&engine.stats.open, 1);
        Stats::add(&engine.stats.opened, 1);
        Self { engine, key }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.engine.with_pool(|pool| pool.release(&self.key));
        Stats::sub(&self.engine.stats.open, 1);
        self.engine.room.notify_one();
    }
}

/// Runs the loop on this thread until a stop; see [`super::Client::run`].
pub(super) fn run(engine: Rc<Engine>, mut inbox: UnboundedReceiver<Command>) -> io::Result<()> {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            inbox.close();
            while let Some(command) = inbox.blocking_recv() {
                engine.refuse(&command);
            }
            return Err(error);
        }
    };
    let tasks = LocalSet::new();
    runtime.block_on(tasks.run_until(turn(engine.clone(), &mut inbox)));
    engine.stopping.set(true);
    {
        let _timers_need_it = runtime.enter();
        drop(tasks);
    }
    for queued in engine.with_pool(Pool::clear) {
        queued.call.fail(&CallError::stopped(), None);
    }
    inbox.close();
    // Commands that crossed the stop: no call may stay without its end.
    runtime.block_on(async {
        while let Some(command) = inbox.recv().await {
            engine.refuse(&command);
        }
    });
    Ok(())
}

async fn turn(engine: Rc<Engine>, inbox: &mut UnboundedReceiver<Command>) {
    let pumped = engine.clone();
    spawn_local(async move {
        loop {
            pumped.room.notified().await;
            pumped.pump();
        }
    });
    while let Some(command) = inbox.recv().await {
        if matches!(command, Command::Stop) {
            return;
        }
        // A fault of ours costs one command, never the loop.
        let _ = catch_unwind(AssertUnwindSafe(|| engine.dispatch(command)));
    }
}
