use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use httpkit_core::server::{Exchange, Mode, Sent};

use crate::support::{Running, answer, config, read_head, read_response, reply, wait_until};

const BEAT: &[u8] = b"3\r\n:\n\n\r\n";

/// A peer that has read the head of a stream.
fn stream(server: &Running, version: &str) -> (TcpStream, Exchange) {
    let mut peer = server.connect();
    write!(peer, "GET / {version}\r\nHost: h\r\n\r\n").unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b""), Sent::Accepted);
    read_head(&mut peer);
    (peer, exchange)
}

fn read(peer: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_silent_stream_sends_heartbeats_until_it_ends() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = stream(&server, "HTTP/1.1");
    assert!(exchange.heartbeat(Duration::from_millis(20)));
    assert_eq!(read(&mut peer, 3 * BEAT.len()), BEAT.repeat(3));
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    answer(&server.request(), b"next");
    let rest = loop {
        // Heartbeats that were sent before the end.
        let mut first = read(&mut peer, 5);
        if first == b"0\r\n\r\n" {
            break read_response(&mut peer);
        }
        first.extend(read(&mut peer, BEAT.len() - 5));
        assert_eq!(first, BEAT);
    };
    assert_eq!(rest, b"next");
    assert!(!exchange.heartbeat(Duration::from_millis(20)));
    peer.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    assert!(
        peer.read(&mut [0]).is_err(),
        "nothing is sent after the end"
    );
}

#[test]
fn a_stream_that_sends_needs_no_heartbeat() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = stream(&server, "HTTP/1.1");
    let interval = Duration::from_millis(500);
    assert!(exchange.heartbeat(interval));
    let start = Instant::now();
    let mut longest = Duration::ZERO;
    let mut sent = 0;
    let mut last = start;
    while start.elapsed() < interval * 2 {
        assert_eq!(exchange.send_chunk(b"event", 0, 1000), Sent::Accepted);
        sent += 1;
        std::thread::sleep(Duration::from_millis(50)); // The pace of the events.
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    let bytes = read(&mut peer, sent * 10);
    // On a machine that stood still in between, a heartbeat is right.
    assert!(longest >= interval || bytes == b"5\r\nevent\r\n".repeat(sent));
}

#[test]
fn heartbeats_are_raw_bytes_on_http_1_0() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = stream(&server, "HTTP/1.0");
    assert!(exchange.heartbeat(Duration::from_millis(20)));
    assert_eq!(read(&mut peer, 6), b":\n\n:\n\n");
}

#[test]
fn heartbeats_do_not_pile_up_for_a_peer_that_does_not_read() {
    let server = Running::start(config(Mode::Pull));
    let (_peer, exchange) = stream(&server, "HTTP/1.1");
    let long = vec![b'x'; 12 << 20];
    assert_eq!(exchange.send_chunk(&long, 0, usize::MAX), Sent::Accepted);
    let pending = exchange.pending_bytes();
    assert!(exchange.heartbeat(Duration::from_millis(1)));
    std::thread::sleep(Duration::from_millis(100)); // Many intervals.
    assert!(exchange.pending_bytes() <= pending);
}

#[test]
fn a_heartbeat_notices_a_peer_that_is_gone_and_responses_without_a_stream_have_none() {
    let server = Running::start(config(Mode::Pull));
    let (peer, exchange) = stream(&server, "HTTP/1.1");
    exchange.watch_peer();
    exchange.heartbeat(Duration::from_millis(5));
    drop(peer);
    wait_until("the stream is over", || !exchange.is_open());
    let mut peer = server.connect();
    peer.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    while !matches!(server.server.take(), Some(httpkit_core::server::Work::Request(request)) if {
        assert!(!request.exchange.heartbeat(Duration::from_millis(1)));
        true
    }) {}
}
