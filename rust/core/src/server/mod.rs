//! The server: sockets in, [`Work`] out, responses back.
//!
//! A [`Server`] is bound once and served by one or more loops, each a tokio current-thread runtime on a thread that the
//! embedder lends ([`Server::run`]). Requests leave through its queues ([`Server::take`]); the thread that took one
//! responds through its [`Exchange`], or passes that to another thread.
//!
//! Not here: parsing (`h1`), frames (`ws`), the meaning of a request.

mod access;
mod admission;
mod attend;
mod backpressure;
mod binding;
mod body;
mod broadcast;
mod budget;
mod channel;
mod clock;
mod coding;
mod config;
mod connection;
mod counters;
mod deflate;
mod encoded;
mod ending;
mod events;
mod eviction;
mod exchange;
mod freed;
mod half_close;
mod half_closed;
mod heartbeat;
pub mod hello;
mod inbound;
mod journal;
mod kept;
mod limits;
mod line;
mod listener;
mod logged;
mod output;
mod partial;
mod payload;
mod phase;
mod proxied;
mod quick;
mod reader;
mod reading;
mod receiving;
mod records;
mod registry;
pub mod request;
mod respond;
mod secured;
mod session;
mod shared;
mod signing;
mod sink;
mod socket;
mod stats;
mod step;
mod stop;
mod stream;
mod sweep;
mod tally;
mod task;
mod throttle;
mod timers;
mod tls;
mod transport;
mod types;
mod websocket;
mod work;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use attend::attend;
use kept::keep;
use listener::Bound;
use shared::{Accepting, Shared};
use sweep::sweep;
use types::Stage;
use work::{Owner, Team};

use crate::net::tls_server::TlsServer;

pub use access::Ended;
pub use body::{BodyFault, Read};
pub use config::{Config, OptionError};
pub use exchange::{Exchange, Request, Responded, Work};
pub use half_closed::{HALF_CLOSE_TIME, max_half_closed};
pub use heartbeat::HEARTBEAT;
pub use limits::{Timeout, Times};
pub use payload::{Kept, Payload, Source};
pub use sink::{Notice, Sink};
pub use stats::Stats;
pub use tally::{BUCKETS, Histogram, Totals};
pub use tls::TlsInfo;
pub use types::{
    Address, CLOSE, CORK, Encoded, Event, GIVEN_CONNECTION, GIVEN_DATE, GIVEN_SERVER, GZIP_LEVEL,
    GZIP_WINDOW, Gzip, INLINE, Interest, Lent, Pings, Refusal, ResponseHead, Sent, UNKNOWN_LENGTH,
    Until,
};
pub use work::Mode;

/// A bound server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listeners: Mutex<Vec<Bound>>,
    port: Option<u16>,
    stage: watch::Sender<Stage>,
    /// Calls of [`Self::run`], which number the loops.
    runs: AtomicUsize,
}

impl Server {
    /// Binds and listens. Nothing is accepted until a loop runs.
    pub fn bind(address: &Address, config: Config, sink: Arc<dyn Sink>) -> io::Result<Self> {
        let bound = Bound::new(address, false, &config)?;
        let mut server = Self::unbound(config, sink);
        server.port = bound.listener.port();
        server.listeners.get_mut().push(bound);
        Ok(server)
    }

    /// A server that does not listen, see [`Self::listen_tls`].
    pub fn unbound(config: Config, sink: Arc<dyn Sink>) -> Self {
        // Starts the clock that request arrival times refer to.
        request::clock();
        let (stage, _) = watch::channel(Stage::Accepting);
        Self {
            shared: Arc::new(Shared::new(config, sink)),
            listeners: Mutex::default(),
            port: None,
            stage,
            runs: AtomicUsize::new(0),
        }
    }

    /// Listens for TLS as well, and returns the bound port; before the first loop runs. The server's [`Self::tls`] must
    /// have its settings by then, else connections are closed as soon as they begin a handshake.
    pub fn listen_tls(&self, address: &Address) -> io::Result<Option<u16>> {
        let bound = Bound::new(address, true, &self.shared.config)?;
        let port = bound.listener.port();
        if let Some(port) = port {
            // The first of several is the one that plain requests are redirected to.
            let _ = self.shared.tls.port.set(port);
        }
        self.listeners.lock().push(bound);
        Ok(port)
    }

    /// Its settings for TLS.
    pub fn tls(&self) -> &TlsServer {
        &self.shared.tls.settings
    }

    /// The bound port for plain HTTP, `None` for a Unix domain socket, or if there is none.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Refuses all further work for the embedder's threads; they end once they have done what is queued.
    pub fn shut_queue(&self) {
        self.shared.teams.shut();
    }

    /// Blocks until there is work, and returns it; meanwhile this thread may run a loop. `None` once the queue is shut
    /// and empty, or when this thread has been idle for `keep_alive` and there are more threads than are kept.
    pub fn take(&self) -> Option<Work> {
        self.shared.teams.take()
    }

    /// This thread has done the work that it took, and begins other work without [`Self::take`]: how long it is away no
    /// longer says how slow a piece of work is.
    pub fn note_direct_work() {
        work::note_direct_work();
    }

    /// Runs one loop on this thread until [`Self::close`], or supervises threads in [`Self::take`] that run it. The
    /// `first` loop also watches the time limits.
    pub fn run(&self, first: bool) -> io::Result<()> {
        let listeners = {
            let bound = self.listeners.lock();
            bound
                .iter()
                .map(Bound::try_clone)
                .collect::<io::Result<Vec<_>>>()?
        };
        if listeners.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name("http-kit-sign")
            .max_blocking_threads(signing::threads())
            .build()?;
        let stage = self.stage.subscribe();
        let shared = &self.shared;
        let event_loop = self.runs.fetch_add(1, Ordering::Relaxed);
        let keep = |what, rest, task| {
            let kept = keep(shared.clone(), what, rest, event_loop, task);
            drop(runtime.spawn(kept));
        };
        let rest = Duration::from_millis(100);
        if event_loop < shared.teams.len() {
            // A panic in one upcall must not delay the next.
            keep("an upcall", rest / 10, |shared, event_loop| {
                Box::pin(attend(shared, event_loop))
            });
        }
        if first {
            keep("a check of time limits", 10 * rest, |shared, _| {
                Box::pin(sweep(shared))
            });
        }
        keep("a broadcast", rest, |shared, _| {
            Box::pin(async move { shared.broadcasts.help().await })
        });
        for bound in listeners {
            let accepting = Accepting::new(&self.shared, event_loop);
            runtime.spawn(listener::accept(accepting, bound, stage.clone()));
        }
        let team = shared.teams.of_loop(event_loop);
        let owner = LoopOwner { team, stage };
        team.loops.run_or_supervise(runtime, owner);
        // Nothing is added any more. Close events must still be delivered, though no task does that now.
        self.push_all();
        self.shared.make_deferred_upcalls();
        Ok(())
    }

    /// Hands queued work to [`Sink::on_work`], because no thread takes it in time: all but a piece for a thread that
    /// has been woken.
    pub fn push_surplus(&self) {
        self.hand_out(self.shared.teams.drain_surplus());
    }

    /// Hands all queued work to [`Sink::on_work`], because no thread takes it.
    pub fn push_all(&self) {
        self.hand_out(self.shared.teams.drain());
    }

    fn hand_out(&self, work: Vec<Work>) {
        if !work.is_empty() {
            self.shared.sink.on_work(work);
        }
    }

    /// Blocks until exchanges are over, and returns the records of some, as the table in `access.rs` says, and their
    /// number. `None` without an access log, or once [`Self::close_access`] was called and all are taken.
    pub fn take_access(&self) -> Option<(Vec<u8>, usize)> {
        self.shared.access.as_ref()?.take()
    }

    /// This many records that were taken are lost. Returns how many are, with those for which there was no room.
    pub fn note_access_dropped(&self, count: u64) -> u64 {
        let access = self.shared.access.as_ref();
        access.map_or(0, |access| access.note_dropped(count))
    }

    /// Ends [`Self::take_access`], once the loops have ended.
    pub fn close_access(&self) {
        if let Some(access) = &self.shared.access {
            access.close();
        }
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let later = *stage < to;
            *stage = to.max(*stage);
            later
        });
        self.shared.teams.alert();
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.shared.connections.len()
    }

    /// Connections accepted so far, those that were refused included.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Peers that the server has seen end their side so far.
    pub fn ended(&self) -> u64 {
        self.shared.ended.load(Ordering::Relaxed)
    }

    /// Connections that were closed on arrival because their address had reached its limit.
    pub fn refused(&self) -> u64 {
        self.shared.admission.refused()
    }

    /// How often this time limit has ended a request or connection so far.
    pub fn timeouts(&self, timeout: Timeout) -> u64 {
        self.shared.counters.timeouts(timeout)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread that [`Server::run`] was called on.
struct LoopOwner<'a> {
    team: &'a Team<Work>,
    stage: watch::Receiver<Stage>,
}

impl Owner for LoopOwner<'_> {
    fn is_closed(&self) -> bool {
        *self.stage.borrow() == Stage::Closed
    }

    async fn closed(&mut self) {
        // An error means that the server was dropped, which closes it too.
        let _ = self.stage.wait_for(|stage| *stage == Stage::Closed).await;
    }

    fn loop_is_free(&self) {
        self.team.queue.wake_for_loop();
    }

    fn taken_back(&self) {
        self.team.queue.wake_for_work();
        // If all other workers are stuck as well, queued work needs another thread.
        self.team.attention.notify_one();
    }
}
