//! Hosted transports: connections that the embedder runs.
//!
//! The embedder exchanges plain bytes with the core: it hands over received bytes (within its read credit) and takes
//! bytes to send (at most [`WRITE_WINDOW`] unacknowledged), so that neither side can flood the other. To everything
//! above, a [`HostedStream`] is a stream like any other.
//!
//! All of this runs on the thread that runs the loop, one at a time; the embedder's calls reach it as commands of that
//! loop.

use super::stream::Meter;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Name of a hosted transport, unique in the process, never 0.
pub type TransportId = u64;

/// Bytes that may be unacknowledged by the embedder.
pub const WRITE_WINDOW: usize = 256 * 1024;
/// Bytes that the embedder may hand over before they are read.
pub const READ_WINDOW: usize = 64 * 1024;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The embedder's side: each call must return without blocking. `false` means that it could not accept the call (no
/// memory), which breaks the transport.
pub trait TransportHost: Send + Sync {
    /// Connect for this call, then report ready or failed.
    #[must_use]
    fn transport_open(&self, transport: TransportId, call: u64) -> bool;
    /// Start TLS for this call, then report ready or failed. `level` 1 is TLS
    /// inside TLS.
    #[must_use]
    fn transport_start_tls(&self, transport: TransportId, call: u64, level: u8) -> bool;
    /// Send these bytes and acknowledge them once written.
    #[must_use]
    fn transport_write(&self, transport: TransportId, data: &[u8]) -> bool;
    /// `n` more bytes may be handed over.
    #[must_use]
    fn transport_read_credit(&self, transport: TransportId, n: usize) -> bool;
    /// Close; nothing follows.
    fn transport_close(&self, transport: TransportId);
}

/// An embedder that runs no connections.
pub trait HostsNone: Send + Sync {}

impl<T: HostsNone> TransportHost for T {
    fn transport_open(&self, _: TransportId, _: u64) -> bool {
        false
    }
    fn transport_start_tls(&self, _: TransportId, _: u64, _: u8) -> bool {
        false
    }
    fn transport_write(&self, _: TransportId, _: &[u8]) -> bool {
        false
    }
    fn transport_read_credit(&self, _: TransportId, _: usize) -> bool {
        false
    }
    fn transport_close(&self, _: TransportId) {}
}

#[derive(Default)]
struct State {
    ready: AtomicBool,
    secured: AtomicBool,
    failed: AtomicBool,
    /// Bytes came before TLS was established.
    early: AtomicBool,
    eof: AtomicBool,
    inbound: Mutex<VecDeque<Bytes>>,
    /// Bytes read by the core and not yet returned as credit.
    consumed: AtomicUsize,
    unacknowledged: AtomicUsize,
    meter: Meter,
    wakers: Mutex<Vec<Waker>>,
}

impl State {
    fn wait(&self, cx: &Context<'_>) {
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut *self.wakers.lock());
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The hosted transports of one loop.
pub struct HostedTransports {
    host: Arc<dyn TransportHost>,
    open: Mutex<HashMap<TransportId, Arc<State>>>,
}

impl HostedTransports {
    /// None yet.
    pub fn new(host: Arc<dyn TransportHost>) -> Arc<Self> {
        Arc::new(Self {
            host,
            open: Mutex::default(),
        })
    }

    /// Asks the embedder for a connection for `call`; `meter` counts its bytes.
    pub fn open(self: &Arc<Self>, call: u64, meter: Meter) -> HostedStream {
        let id = NEXT_ID.fetch_add(1, Relaxed);
        let state = Arc::new(State {
            meter,
            ..State::default()
        });
        self.open.lock().insert(id, state.clone());
        let stream = HostedStream {
            id,
            state,
            all: self.clone(),
        };
        stream.heard(self.host.transport_open(id, call));
        stream
    }

    /// The embedder has connected, or TLS is established.
    pub fn ready(&self, transport: TransportId) {
        self.with(transport, |state| {
            // Nothing has been decrypted yet. What is here came through the tunnel in clear, and would be taken for
            // what the server sends whose certificate has just been verified.
            if state.secured.load(Relaxed) && !state.inbound.lock().is_empty() {
                state.early.store(true, Relaxed);
            }
            state.ready.store(true, Relaxed);
        });
    }

    /// The embedder's connection broke.
    pub fn failed(&self, transport: TransportId) {
        self.with(transport, |state| state.failed.store(true, Relaxed));
    }

    /// Bytes from the peer.
    pub fn received(&self, transport: TransportId, data: Bytes) {
        self.with(transport, |state| {
            if !data.is_empty() {
                state.meter.count(data.len());
                state.inbound.lock().push_back(data);
            }
        });
    }

    /// The peer sends no more.
    pub fn eof(&self, transport: TransportId) {
        self.with(transport, |state| state.eof.store(true, Relaxed));
    }

    /// `n` bytes were written. 0 means that the embedder moved bytes of its own, such as those of a handshake.
    pub fn written(&self, transport: TransportId, n: usize) {
        self.with(transport, |state| {
            state.meter.count(n.max(1));
            let left = state.unacknowledged.load(Relaxed).saturating_sub(n);
            state.unacknowledged.store(left, Relaxed);
        });
    }

    fn with(&self, transport: TransportId, change: impl FnOnce(&State)) {
        let state = self.open.lock().get(&transport).cloned();
        if let Some(state) = state {
            change(&state);
            state.wake();
        }
    }
}

/// One hosted transport; dropping it closes it.
pub struct HostedStream {
    id: TransportId,
    state: Arc<State>,
    all: Arc<HostedTransports>,
}

impl HostedStream {
    /// Its name.
    pub fn id(&self) -> TransportId {
        self.id
    }

    /// Waits until the embedder has connected, then grants it read credit.
    pub async fn connected(&self) -> io::Result<()> {
        self.until_ready().await?;
        self.heard(self.all.host.transport_read_credit(self.id, READ_WINDOW));
        Ok(())
    }

    /// Starts TLS and waits until it is established.
    pub async fn start_tls(&self, call: u64, level: u8) -> io::Result<()> {
        self.state.ready.store(false, Relaxed);
        self.state.secured.store(true, Relaxed);
        self.heard(self.all.host.transport_start_tls(self.id, call, level));
        self.until_ready().await
    }

    /// Whether TLS was started on it.
    pub fn secured(&self) -> bool {
        self.state.secured.load(Relaxed)
    }

    async fn until_ready(&self) -> io::Result<()> {
        poll_fn(|cx| {
            if self.state.failed.load(Relaxed) {
                return Poll::Ready(Err(hosted_failure()));
            }
            if self.state.early.load(Relaxed) {
                return Poll::Ready(Err(io::Error::other(EarlyBytes)));
            }
            if self.state.ready.load(Relaxed) {
                return Poll::Ready(Ok(()));
            }
            self.state.wait(cx);
            Poll::Pending
        })
        .await
    }

    fn give_back(&self, n: usize) {
        let consumed = self.state.consumed.load(Relaxed) + n;
        if consumed < READ_WINDOW / 2 {
            self.state.consumed.store(consumed, Relaxed);
            return;
        }
        self.state.consumed.store(0, Relaxed);
        self.heard(self.all.host.transport_read_credit(self.id, consumed));
    }

    /// An embedder that missed a call would leave us waiting, so the transport fails.
    fn heard(&self, heard: bool) {
        if !heard {
            self.state.failed.store(true, Relaxed);
            self.state.wake();
        }
    }
}

impl Drop for HostedStream {
    fn drop(&mut self) {
        self.all.open.lock().remove(&self.id);
        self.all.host.transport_close(self.id);
    }
}

impl AsyncRead for HostedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inbound = self.state.inbound.lock();
        if let Some(first) = inbound.front_mut() {
            let n = first.len().min(out.remaining());
            out.put_slice(&first[..n]);
            first.advance(n);
            if first.is_empty() {
                inbound.pop_front();
            }
            drop(inbound);
            self.give_back(n);
            return Poll::Ready(Ok(()));
        }
        if self.state.failed.load(Relaxed) {
            return Poll::Ready(Err(hosted_failure()));
        }
        if self.state.eof.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        self.state.wait(cx);
        Poll::Pending
    }
}

impl AsyncWrite for HostedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.state.failed.load(Relaxed) {
            return Poll::Ready(Err(hosted_failure()));
        }
        let waiting = self.state.unacknowledged.load(Relaxed);
        let n = data.len().min(WRITE_WINDOW.saturating_sub(waiting));
        if n == 0 && !data.is_empty() {
            self.state.wait(cx);
            return Poll::Pending;
        }
        self.state.unacknowledged.store(waiting + n, Relaxed);
        match self.all.host.transport_write(self.id, &data[..n]) {
            true => Poll::Ready(Ok(n)),
            false => Poll::Ready(Err(io::ErrorKind::OutOfMemory.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Bytes came through a tunnel before TLS was established.
#[derive(Debug)]
pub(crate) struct EarlyBytes;

impl std::fmt::Display for EarlyBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("The proxy sent bytes ahead of the TLS handshake")
    }
}

impl std::error::Error for EarlyBytes {}

/// Marks an I/O error whose cause only the embedder knows.
#[derive(Debug)]
struct HostedFailure;

impl std::fmt::Display for HostedFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("foreign transport failed")
    }
}

impl std::error::Error for HostedFailure {}

fn hosted_failure() -> io::Error {
    io::Error::other(HostedFailure)
}

/// Whether `error` came from a hosted transport.
pub fn is_hosted(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<HostedFailure>())
}
