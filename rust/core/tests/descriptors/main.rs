//! A process without free descriptors. Not among the other tests of the server, which need some meanwhile.

#[allow(dead_code)] // The server's tests use all of it.
#[path = "../server/support.rs"]
mod support;

use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use httpkit_core::server::{Mode, Notice, Server, Until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};

use support::{PATIENCE, Running, answer, config, read_response, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const PEERS: usize = 8;

/// A server that cannot accept the peers that the kernel has accepted, and all descriptors that were free.
fn exhausted() -> (Running, Vec<TcpStream>, Vec<File>) {
    let server = Running::start(config(Mode::Pull));
    let mut first = server.connect();
    first.write_all(GET).unwrap();
    answer(&server.request(), b"first");
    assert_eq!(read_response(&mut first), b"first");
    let sockets: Vec<_> = (0..PEERS)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM, None).unwrap())
        .collect();
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let current = Some(256);
    setrlimit(Resource::Nofile, Rlimit { current, maximum }).unwrap();
    let taken = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let peers = sockets
        .into_iter()
        .map(|socket| {
            socket.connect(&server.address().into()).unwrap();
            let mut peer = TcpStream::from(socket);
            peer.set_read_timeout(Some(PATIENCE)).unwrap();
            peer.write_all(GET).unwrap();
            peer
        })
        .collect();
    wait_until("accepting fails", || {
        let notices = server.sink.notices.lock();
        notices.iter().any(|n| matches!(n, Notice::Accept(_)))
    });
    (server, peers, taken)
}

fn is_accepting(server: &Server) -> bool {
    server.unfinished(PATIENCE, Until::Drained) > server.connections()
}

/// Several times as long as accepting rests after a failure.
fn linger() {
    std::thread::sleep(Duration::from_millis(500));
}

// One test: the limit is the process's.
#[test]
fn a_drain_without_free_descriptors_serves_what_the_kernel_has_accepted_once_there_are_some() {
    let (mut server, mut peers, mut taken) = exhausted();
    server.server.drain();
    linger();
    assert!(is_accepting(&server.server));
    for _ in 0..PEERS {
        taken.pop();
        answer(&server.request(), b"last");
    }
    for peer in &mut peers {
        assert_eq!(read_response(peer), b"last");
    }
    drop(peers);
    wait_until("it no longer accepts", || !is_accepting(&server.server));
    server.stop();
    drop(taken);

    // A stop does not wait for descriptors.
    let (mut server, _peers, _taken) = exhausted();
    server.server.drain();
    linger();
    let began = Instant::now();
    server.stop();
    assert!(began.elapsed() < PATIENCE / 2);
}
