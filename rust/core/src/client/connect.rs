//! New connections: sockets, proxies, TLS.

use super::call::{Call, Limit};
use super::error::{CallError, ErrorKind};
use super::key::PoolKey;
use super::permit::Permit;
use super::proxy;
use super::spec::{Address, Route};
use super::stats::Stats;
use super::timer::Timer;
use crate::net::hosted::TransportId;
use crate::net::platform::{self, UnixStream};
use crate::net::stream::{Meter, Metered, Stream};
use crate::net::tls::{self, TlsMode};
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout};

/// Head start of an address over the next one (RFC 8305, 8).
const HEAD_START: Duration = Duration::from_millis(250);
/// Pause before retrying a Unix socket with a full backlog: the kernel has no event for that.
const BACKLOG_PAUSE: Duration = Duration::from_millis(5);

/// One connection, owned by its task.
///
/// The order of the fields matters: the socket closes before its permit is released.
pub(super) struct Conn {
    pub stream: Stream,
    pub timer: Timer,
    pub transport: Option<TransportId>,
    pub tls: bool,
    /// Bytes of the socket, including TLS and proxies.
    pub meter: Meter,
    /// Calls that it has served.
    pub served: u64,
    pub key: Arc<PoolKey>,
    permit: Permit,
}

impl Conn {
    pub(super) fn new(
        stream: Stream,
        transport: Option<TransportId>,
        meter: Meter,
        permit: Permit,
    ) -> Self {
        Self {
            timer: Timer::new(Instant::now() + Duration::from_secs(60)),
            transport,
            tls: matches!(stream, Stream::Tls(_)),
            stream,
            meter,
            served: 0,
            key: permit.key.clone(),
            permit,
        }
    }

    /// Closes it; another one may take its place.
    pub(super) fn close(self) -> Permit {
        let Self { permit, .. } = self;
        permit
    }

    /// Itself, or its place if it is `lost`.
    pub(super) fn unless(self: Box<Self>, lost: bool) -> Result<Box<Self>, Permit> {
        match lost {
            true => Err(self.close()),
            false => Ok(self),
        }
    }

    /// Whether an idle peer sent something or disconnected: either way the connection is lost.
    pub(super) fn spoke(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        let mut buf = ReadBuf::new(&mut byte);
        Pin::new(&mut self.stream)
            .poll_read(cx, &mut buf)
            .is_ready()
    }

    /// As [`spoke`](Conn::spoke), also of what the runtime does not know yet.
    pub(super) async fn is_lost(&mut self) -> bool {
        if self.tls && !is_silent(&self.stream) {
            // It may be for TLS. The task is woken again after the loop has next polled its sockets.
            yield_now().await;
        }
        let spoke = poll_fn(|cx| Poll::Ready(self.spoke(cx))).await;
        spoke || (!self.tls && !is_silent(&self.stream))
    }

    /// The socket, if threads other than the loop's may write to it.
    pub(super) fn socket(&self) -> Option<&Metered<TcpStream>> {
        match &self.stream {
            Stream::Tcp(socket) => Some(socket),
            _ => None,
        }
    }
}

/// Whether nothing has come that was not read, as far as the system can tell.
fn is_silent(stream: &Stream) -> bool {
    match stream {
        Stream::Tcp(socket) => socket.is_silent(),
        Stream::Tls(tls) => is_silent(tls.get_ref().0),
        Stream::Unix(_) | Stream::Hosted(_) => true,
    }
}

/// A failed connect, and the hosted transport that it concerns.
pub(super) struct Failure {
    pub error: CallError,
    pub transport: Option<TransportId>,
}

/// Connects for `call`. Its connect timeout covers the connection to the peer or proxy; after that its idle timeout
/// applies.
pub(super) async fn open(call: &Call, permit: Permit) -> Result<Conn, Failure> {
    let stats = &*call.shared().stats;
    let connecting = Connecting::new(stats);
    let mut attempt = Attempt::new(call, call.spec.hosted, call.since);
    let mut result = attempt.run().await;
    if result.is_err() && attempt.not_our_tls.load(Relaxed) && call.spec.hosted_tls {
        attempt = Attempt::new(call, true, Instant::now());
        result = attempt.run().await;
    }
    let Attempt {
        transport, meter, ..
    } = attempt;
    let stream = result.map_err(|error| Failure { error, transport })?;
    drop(connecting);
    if transport.is_some() {
        Stats::add(&stats.hosted, 1);
    }
    if matches!(stream, Stream::Tls(_)) {
        Stats::add(&stats.tls, 1);
    }
    Ok(Conn::new(stream, transport, meter, permit))
}

struct Connecting<'a>(&'a Stats);

impl<'a> Connecting<'a> {
    fn new(stats: &'a Stats) -> Self {
        Stats::add(&stats.connecting, 1);
        Self(stats)
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        Stats::sub(&self.0.connecting, 1);
    }
}

/// One attempt to reach the peer.
struct Attempt<'a> {
    call: &'a Call,
    hosted: bool,
    since: Instant,
    meter: Meter,
    transport: Option<TransportId>,
    /// It failed over something that rustls does not support.
    not_our_tls: AtomicBool,
}

impl<'a> Attempt<'a> {
    fn new(call: &'a Call, hosted: bool, since: Instant) -> Self {
        Self {
            call,
            hosted,
            since,
            meter: Meter::default(),
            transport: None,
            not_our_tls: AtomicBool::new(false),
        }
    }

    async fn run(&mut self) -> Result<Stream, CallError> {
        let (call, shared) = (self.call, self.call.shared());
        let limit = call.connect_limit(self.since);
        let stream = match self.hosted {
            true => {
                let stream = shared.hosted.open(call.id, self.meter.clone());
                self.transport = Some(stream.id());
                within(call, limit, stream.connected()).await?;
                Stream::Hosted(stream)
            }
            false => {
                let bind = shared.config.bind.as_ref();
                let connect = connect_any(&call.spec.addresses, bind, &self.meter);
                within(call, limit, connect).await?
            }
        };
        while_busy(call, &self.meter, prepare(call, stream, &self.not_our_tls)).await
    }
}

/// Waits for `future` while bytes move, as counted by `meter`.
async fn while_busy<T>(
    call: &Call,
    meter: &Meter,
    future: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    let mut future = pin!(future);
    let mut last = Instant::now();
    let mut timer = Timer::new(last);
    let mut moved = meter.bytes();
    poll_fn(|cx| {
        if let Poll::Ready(error) = call.control.poll_broken(cx) {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(result) = future.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        if moved != meter.bytes() {
            (moved, last) = (meter.bytes(), Instant::now());
        }
        let Some(limit) = call.idle_limit(Some(last)) else {
            return Poll::Pending;
        };
        limit.poll(cx, &mut timer, last).map(Err)
    })
    .await
}

/// Waits for `future`, until its limit or until the call is ended from outside.
async fn within<T, E: Into<CallError>>(
    call: &Call,
    limit: Limit,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, CallError> {
    let mut future = pin!(future);
    let begun = Instant::now();
    let mut timer = Timer::new(limit.at);
    poll_fn(|cx| {
        if let Poll::Ready(error) = call.control.poll_broken(cx) {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(result) = future.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(Into::into));
        }
        limit.poll(cx, &mut timer, begun).map(Err)
    })
    .await
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::from_io(&error)
    }
}

/// Tries the addresses in order, each with a head start over the next; reports the first error. What is left of the
/// others is closed by then.
async fn connect_any(
    addresses: &[Address],
    bind: Option<&Address>,
    meter: &Meter,
) -> Result<Stream, CallError> {
    let mut rest = addresses.iter();
    let mut tries = Vec::new();
    let mut first_error = None;
    loop {
        if let Some(address) = rest.next() {
            tries.push(Box::pin(connect_one(address, bind, meter.clone())));
        }
        let head_start = match rest.len() {
            0 => Duration::MAX,
            _ => HEAD_START,
        };
        match timeout(head_start, first_of(&mut tries)).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => {
                first_error.get_or_insert(CallError::from(error));
            }
            Ok(None) => {
                let none = || CallError::new(ErrorKind::Argument, "no address to connect to");
                return Err(first_error.unwrap_or_else(none));
            }
            Err(_) => {}
        }
    }
}

/// The result of the first future that is ready, which is removed; `None` if there are none.
async fn first_of<F: Future + Unpin>(futures: &mut Vec<F>) -> Option<F::Output> {
    poll_fn(|cx| {
        for at in 0..futures.len() {
            if let Poll::Ready(result) = Pin::new(&mut futures[at]).poll(cx) {
                drop(futures.remove(at));
                return Poll::Ready(Some(result));
            }
        }
        match futures.is_empty() {
            true => Poll::Ready(None),
            false => Poll::Pending,
        }
    })
    .await
}

async fn connect_one(
    address: &Address,
    bind: Option<&Address>,
    meter: Meter,
) -> io::Result<Stream> {
    match address {
        Address::Inet(address) => {
            let stream = connect_tcp(*address, bind).await?;
            Ok(Stream::Tcp(Metered::new(stream, meter)))
        }
        Address::Unix(path) => {
            let stream = connect_unix(path).await?;
            Ok(Stream::Unix(Metered::new(stream, meter)))
        }
    }
}

async fn connect_tcp(address: SocketAddr, bind: Option<&Address>) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_keepalive(true)?;
    socket.set_nodelay(true)?;
    if let Some(Address::Inet(local)) = bind {
        socket.bind(local_for(address, *local))?;
    }
    socket.connect(address).await
}

/// The JDK's "any address" is an IPv4 one; it stands for any address of the peer's family.
fn local_for(peer: SocketAddr, local: SocketAddr) -> SocketAddr {
    match (local.ip().is_unspecified(), peer) {
        (false, _) => local,
        (true, SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, local.port()).into(),
        (true, SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, local.port()).into(),
    }
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    loop {
        match platform::connect_unix(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(BACKLOG_PAUSE).await,
            result => return result,
        }
    }
}

/// Prepares a connected socket for the target: proxy, then TLS.
async fn prepare(
    call: &Call,
    stream: Stream,
    not_our_tls: &AtomicBool,
) -> Result<Stream, CallError> {
    let mut stream = match &call.spec.route {
        Route::Tunnel {
            tls: Some((mode, name)),
            ..
        } => secure(call, stream, *mode, name, not_our_tls).await?,
        _ => stream,
    };
    match &call.spec.route {
        Route::Direct => {}
        Route::Tunnel {
            host,
            port,
            authorization,
            ..
        } => proxy::tunnel(&mut stream, host, *port, authorization).await?,
        Route::Socks5 {
            host,
            port,
            credentials,
        } => proxy::socks5(&mut stream, host, *port, credentials.as_ref()).await?,
    }
    match call.spec.tls {
        Some(mode) => secure(call, stream, mode, &call.spec.tls_name, not_our_tls).await,
        None => Ok(stream),
    }
}

async fn secure(
    call: &Call,
    stream: Stream,
    mode: TlsMode,
    name: &str,
    not_our_tls: &AtomicBool,
) -> Result<Stream, CallError> {
    if let Stream::Hosted(hosted) = stream {
        let inner = matches!(&call.spec.route, Route::Tunnel { tls: Some(_), .. });
        let level = u8::from(inner && hosted.secured());
        hosted.start_tls(call.id, level).await?;
        return Ok(Stream::Hosted(hosted));
    }
    let context = call.shared().tls.lock().clone();
    let Some(context) = context else {
        return Err(CallError::internal("TLS was not set up"));
    };
    let result = context.connect(stream, mode, call.spec.sni, name).await;
    Ok(result.inspect_err(|error| not_our_tls.store(tls::is_unsupported(error), Relaxed))?)
}
