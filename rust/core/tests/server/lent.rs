//! Listening sockets that others opened.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use httpkit_core::server::{Address, Lent, Mode, Notice, Until};

use crate::support::{PATIENCE, Running, answer, config, read_response, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn lend(listener: &TcpListener) -> Address {
    Address::Lent(Lent::new(OwnedFd::from(listener.try_clone().unwrap())).unwrap())
}

fn connect(listener: &TcpListener) -> TcpStream {
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.write_all(GET).unwrap();
    peer
}

fn serve(server: &Running, mut peer: TcpStream, body: &[u8]) {
    answer(&server.request(), body);
    assert_eq!(read_response(&mut peer), body);
}

#[test]
fn a_lent_socket_is_served_and_outlives_its_servers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for round in [b"first", b"other"] {
        let mut server = Running::start_at(&lend(&listener), config(Mode::Pull));
        let port = listener.local_addr().unwrap().port();
        assert_eq!(server.server.port(), Some(port));
        serve(&server, connect(&listener), round);
        server.stop();
    }
    // Nothing listens, and nothing is refused: it waits for the next one.
    let peer = connect(&listener);
    let server = Running::start_at(&lend(&listener), config(Mode::Pull));
    serve(&server, peer, b"waited");
}

#[test]
fn a_draining_server_leaves_newcomers_on_a_lent_socket_to_the_next_one() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let old = Running::start_at(&lend(&listener), config(Mode::Pull));
    serve(&old, connect(&listener), b"old");
    old.server.drain();
    let new = Running::start_at(&lend(&listener), config(Mode::Pull));
    for _ in 0..20 {
        serve(&new, connect(&listener), b"new");
    }
}

#[test]
fn what_does_not_listen_cannot_be_lent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let connected = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let file = std::fs::File::open("Cargo.toml").unwrap();
    for other in [connected.into(), datagrams.into(), OwnedFd::from(file)] {
        assert!(Lent::new(other).is_err());
    }
}

#[test]
fn a_lent_unix_socket_has_no_port() {
    let path = std::env::temp_dir().join(format!("httpkit-lent-{}", std::process::id()));
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let lent = Address::Lent(Lent::new(listener.into()).unwrap());
    assert_eq!(
        Running::start_at(&lent, config(Mode::Pull)).server.port(),
        None
    );
}

fn complaints(server: &Running) -> usize {
    let notices = server.sink.notices.lock();
    let is_complaint = |notice: &&Notice| matches!(notice, Notice::Accept(_));
    notices.iter().filter(is_complaint).count()
}

#[test]
fn a_lent_socket_that_is_shut_down_is_reported_once_and_costs_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Running::start_at(&lend(&listener), config(Mode::Pull));
    let mut peer = connect(&listener);
    answer(&server.request(), b"before");
    assert_eq!(read_response(&mut peer), b"before");
    socket2::SockRef::from(&listener)
        .shutdown(std::net::Shutdown::Both)
        .unwrap();
    wait_until("it is told of", || complaints(&server) > 0);
    server.assert_idle(Duration::from_millis(1500)); // More than the time between two notices.
    assert_eq!(complaints(&server), 1);
    // Connections that were there go on.
    peer.write_all(GET).unwrap();
    serve(&server, peer, b"after");
    server.server.drain();
    wait_until("it no longer accepts", || {
        server.server.unfinished(Duration::ZERO, Until::Drained) == 0
    });
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < PATIENCE / 2);
}
