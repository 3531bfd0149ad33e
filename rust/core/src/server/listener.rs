//! Accepting connections.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use socket2::Socket;
use tokio::sync::watch;

use super::binding;
use super::config::Config;
use super::connection::Conn;
use super::eviction::{LongIdle, wait_for_room};
use super::shared::{Accepting, Shared};
use super::sink::Notice;
use super::socket::{Ends, ReadHalf, WriteHalf, split_tcp, split_unix};
use super::task::Task;
use super::types::{Address, Stage};
use crate::h1::proxy::ProxyMode;
use crate::net::platform::{self, StdUnixListener, UnixListener, UnixStream};

/// Pause after a failed accept (usually: out of file descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// Pause of accepting while connections are closed to free descriptors.
const ROOM_REST: Duration = Duration::from_millis(2);
/// Time for the last message of a handshake, on a fast network or a machine under load.
const HANDSHAKE_REST: Duration = Duration::from_millis(10);

/// Only the owner of a lent socket can do that.
const SHUT: &str = "the listening socket has been shut down: nothing is accepted any more";

type Accepted = (ReadHalf, WriteHalf, Ends);

/// A bound, listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(std::net::TcpListener),
    Unix(StdUnixListener),
}

/// A listener, and what is spoken there.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) listener: Listener,
    pub(super) speaks_tls: bool,
    /// It belongs to another program.
    pub(super) lent: bool,
}

impl Bound {
    pub(super) fn new(address: &Address, speaks_tls: bool, config: &Config) -> io::Result<Self> {
        Ok(Self {
            listener: Listener::bind(address, config)?,
            speaks_tls,
            lent: matches!(address, Address::Lent(_)),
        })
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            listener: self.listener.try_clone()?,
            speaks_tls: self.speaks_tls,
            lent: self.lent,
        })
    }
}

enum AsyncListener {
    Tcp(tokio::net::TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &Address, config: &Config) -> io::Result<Self> {
        match address {
            Address::Inet(address) => Ok(Self::Tcp(binding::inet(*address, config)?)),
            Address::Unix(path) => Ok(Self::Unix(binding::unix(path, config)?)),
            Address::Lent(lent) => Self::lent(lent.0.try_clone()?),
        }
    }

    fn lent(socket: Socket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(if socket.local_addr()?.is_unix() {
            Self::Unix(socket.into())
        } else {
            platform::bound_unsent(&socket);
            Self::Tcp(socket.into())
        })
    }

    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok().map(|address| address.port()),
            Self::Unix(_) => None,
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// Accepts a connection that the kernel has already completed.
    fn accept_now(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true).map_err(is_gone)?;
                Ok(split_tcp(tokio::net::TcpStream::from_std(stream)?, peer))
            }
            Self::Unix(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                Ok(split_unix(UnixStream::from_std(stream)?))
            }
        }
    }

    fn into_async(self) -> io::Result<AsyncListener> {
        Ok(match self {
            Self::Tcp(listener) => AsyncListener::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(listener) => AsyncListener::Unix(UnixListener::from_std(listener)?),
        })
    }
}

impl AsyncListener {
    fn into_std(self) -> io::Result<Listener> {
        Ok(match self {
            Self::Tcp(listener) => Listener::Tcp(listener.into_std()?),
            Self::Unix(listener) => Listener::Unix(listener.into_std()?),
        })
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Small responses must not wait for the peer's acknowledgement of earlier ones.
                stream.set_nodelay(true).map_err(is_gone)?;
                Ok(split_tcp(stream, peer))
            }
            Self::Unix(listener) => Ok(split_unix(listener.accept().await?.0)),
        }
    }
}

/// Accepts until the server drains.
pub(super) async fn accept(
    accepting: Accepting,
    Bound {
        listener,
        speaks_tls,
        lent,
    }: Bound,
    mut stage: watch::Receiver<Stage>,
) {
    let shared = &accepting.shared;
    let listener = match listener.into_async() {
        Ok(listener) => listener,
        Err(e) => return shared.notice(Notice::LoopError(e.to_string())),
    };
    let mut oldest = LongIdle::default();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage != Stage::Accepting) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) if !may_enter(shared, &accepted) => {}
            Ok(accepted) => {
                wait_for_room(shared, &mut stage, &mut oldest).await;
                start(shared, accepting.event_loop, accepted, speaks_tls);
            }
            Err(e) if is_peers_fault(&e) => {}
            Err(e) if platform::is_want_of_room(&e) && shared.make_room() => {
                rest(ROOM_REST, &mut stage, Stage::Draining).await;
            }
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => {
                shared.notice(Notice::Accept(SHUT.to_owned()));
                // An error means that the server was dropped, which closes it.
                let _ = stage.wait_for(|stage| *stage != Stage::Accepting).await;
                break;
            }
            Err(e) => {
                complain(shared, &e);
                rest(ACCEPT_REST, &mut stage, Stage::Draining).await;
            }
        }
    }
    // Connections that wait in a lent socket's backlog are left to its next listener.
    if *stage.borrow() == Stage::Draining && !lent {
        take_backlog(accepting, listener, speaks_tls, &mut stage).await;
    }
}

/// Waits for `time`, or until the server reaches this stage.
async fn rest(time: Duration, stage: &mut watch::Receiver<Stage>, until: Stage) {
    // An error means that the server was dropped, which closes it.
    let _ = tokio::time::timeout(time, stage.wait_for(|stage| *stage >= until)).await;
}

fn complain(shared: &Shared, error: &io::Error) {
    if shared.accept_errors.take_due() {
        shared.notice(Notice::Accept(error.to_string()));
    }
}

/// Takes the connections that the kernel has accepted, because closing the listener would reset them. Without free
/// descriptors, that waits until a connection ends, or the server's time is up.
async fn take_backlog(
    mut accepting: Accepting,
    listener: AsyncListener,
    speaks_tls: bool,
    stage: &mut watch::Receiver<Stage>,
) {
    let Ok(listener) = listener.into_std() else {
        return;
    };
    let event_loop = accepting.event_loop;
    let shared = &accepting.shared.clone();
    if let Listener::Tcp(listener) = &listener {
        platform::ignore_newcomers(listener);
    }
    // The kernel queues one more than the backlog, and handshakes that it has begun follow. But connections that keep
    // arriving would make this endless.
    let mut left = shared.config.backlog.max(1).saturating_mul(2);
    while left > 0 && *stage.borrow() != Stage::Closed {
        left -= 1;
        match listener.accept_now() {
            Ok(accepted) if !may_enter(shared, &accepted) => {}
            Ok(accepted) => {
                shared.admission.enter_anyway();
                start(shared, event_loop, accepted, speaks_tls);
            }
            Err(e) if is_peers_fault(&e) => {}
            Err(e) if platform::is_want_of_room(&e) => {
                left += 1;
                let pause = match shared.make_room() {
                    true => ROOM_REST,
                    false => ACCEPT_REST,
                };
                complain(shared, &e);
                rest(pause, stage, Stage::Closed).await;
            }
            // The last message of a handshake may still be on its way: its peer has connected and sends a request. A
            // drain waits for this; a stop that has nothing else to wait for does not.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock && accepting.only_listen() => {
                rest(HANDSHAKE_REST, stage, Stage::Closed).await;
            }
            Err(_) => return,
        }
    }
}

/// Whether the peer's address may have one more connection. If its real address is to follow in a PROXY header, that
/// is known later.
fn may_enter(shared: &Shared, (_, _, ends): &Accepted) -> bool {
    let may = match ends.peer {
        Some(peer) if shared.config.proxy == ProxyMode::Disable => {
            shared.admission.enter_from(peer)
        }
        _ => true,
    };
    if !may {
        // As one that is refused later.
        shared.accepted.fetch_add(1, Ordering::Relaxed);
    }
    may
}

fn start(shared: &Arc<Shared>, event_loop: usize, (read, write, ends): Accepted, speaks_tls: bool) {
    let conn = Conn::new(shared.clone(), event_loop, write, ends);
    if speaks_tls {
        conn.lock().transport.secure();
    } else if shared.tls.settings.redirects() && ends.local.is_some() {
        // Peers on a Unix domain socket are proxies, which are not redirected.
        conn.lock().inbound.redirected = true;
    }
    shared.register(&conn);
    tokio::spawn(Task::new(conn, read));
}

/// Whether the connection was gone before we took it, so that nothing is wrong with the listener.
fn is_peers_fault(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, NotConnected};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NotConnected
    )
}

/// An accepted socket whose options cannot be set has no peer any more.
fn is_gone(_: io::Error) -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}
