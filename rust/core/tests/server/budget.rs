//! `Config::max_buffered`: what all connections together may hold in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use httpkit_core::server::{CORK, Config, Mode, Notice, Sent};
use httpkit_core::ws::Opcode;

use crate::support::{
    Running, answer, config, frame, pings_after, read_head, read_response, wait_until,
};

const KIB: usize = 1024;

fn server(most: usize) -> Running {
    Running::start(Config {
        max_buffered: Some(most as u64),
        ..config(Mode::Pull)
    })
}

/// A peer that has sent the first `sent` bytes of a body.
fn uploading(server: &Running, sent: usize) -> TcpStream {
    let mut peer = server.connect();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        1000 * KIB
    );
    peer.write_all(head.as_bytes()).unwrap();
    peer.write_all(&vec![b'x'; sent]).unwrap();
    peer
}

fn holds(server: &Running, at_least: usize) {
    wait_until("it is held", || {
        server.server.stats().held >= at_least as u64
    });
}

fn holds_nothing(server: &Running) {
    wait_until("nothing is held", || server.server.stats().held == 0);
}

#[test]
fn beyond_the_limit_new_bodies_get_503_and_the_others_go_on() {
    let server = server(300 * KIB);
    let mut first = uploading(&server, 400 * KIB);
    holds(&server, 400 * KIB);
    let mut second = uploading(&server, 10);
    let mut response = String::new();
    second.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 503 "), "{response}");
    assert!(response.contains("Connection: Close\r\n"), "{response}");
    let mut small = server.connect();
    small
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok")
        .unwrap();
    answer(&server.request(), b"small");
    assert_eq!(read_response(&mut small), b"small");
    first.write_all(&vec![b'x'; 600 * KIB]).unwrap();
    answer(&server.request(), b"large");
    assert_eq!(read_response(&mut first), b"large");
    drop((first, second, small));
    holds_nothing(&server);
    let notices = server.sink.notices.lock();
    let warned = notices.iter().any(
        |notice| matches!(notice, Notice::Warning(text) if text.contains(":max-buffered-bytes")),
    );
    assert!(warned, "{notices:?}");
    assert_eq!(server.server.stats().totals.statuses, [0, 2, 0, 0, 1]);
}

#[test]
fn a_peer_that_asks_first_is_refused_before_it_sends_a_body() {
    let server = server(300 * KIB);
    let _first = uploading(&server, 400 * KIB);
    holds(&server, 400 * KIB);
    let mut peer = server.connect();
    peer.write_all(
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
    )
    .unwrap();
    assert!(read_head(&mut peer).starts_with("HTTP/1.1 503 "));
}

#[test]
fn a_lost_connection_gives_back_what_it_held() {
    let server = server(300 * KIB);
    let peers: Vec<_> = (0..3).map(|_| uploading(&server, 100 * KIB)).collect();
    holds(&server, 300 * KIB);
    drop(peers);
    holds_nothing(&server);
    let mut peer = uploading(&server, 1000 * KIB);
    answer(&server.request(), b"ok");
    assert_eq!(read_response(&mut peer), b"ok");
}

/// A message of 100 KiB.
fn long_message() -> Vec<u8> {
    let mut message = vec![0x82, 0x80 | 127];
    message.extend_from_slice(&(100 * KIB as u64).to_be_bytes());
    message.resize(message.len() + 4 + 100 * KIB, 0);
    message
}

#[test]
fn a_message_that_is_never_taken_counts_until_its_exchange_ends() {
    let server = server(300 * KIB);
    let (mut peer, exchange) = server.websocket(None);
    peer.write_all(&long_message()).unwrap();
    holds(&server, 100 * KIB);
    drop(peer);
    wait_until("its peer has left", || server.server.connections() == 0);
    assert!(server.server.stats().held >= 100 * KIB as u64);
    drop((exchange, server.server.take()));
    holds_nothing(&server);
}

#[test]
fn many_tiny_messages_count_what_their_queue_takes() {
    let server = server(300 * KIB);
    let (mut peer, _exchange) = server.websocket(None);
    peer.write_all(&frame(1, b"").repeat(10_000)).unwrap();
    holds(&server, 100 * KIB);
}

#[test]
fn beyond_the_limit_a_silent_peer_of_a_message_that_has_begun_is_given_up() {
    let server = server(50 * KIB);
    let pings = pings_after(Duration::from_millis(20));
    let (mut peer, exchange) = server.websocket(Some(pings));
    peer.write_all(&long_message()[..80 * KIB]).unwrap();
    wait_until("it is given up", || !exchange.is_open());
    while !exchange.take_events().is_empty() {}
    holds_nothing(&server);
}

#[test]
fn a_message_that_is_taken_is_given_back_though_its_peer_stays_silent() {
    let server = server(300 * KIB);
    let (mut peer, exchange) = server.websocket(None);
    peer.write_all(&long_message()).unwrap();
    holds(&server, 100 * KIB);
    wait_until("it is taken", || !exchange.take_events().is_empty());
    holds_nothing(&server);
}

#[test]
fn what_many_peers_do_not_read_of_one_message_counts_once() {
    // Without any time limit.
    let server = server(300 * KIB * KIB);
    let message = std::sync::Arc::new(vec![b'x'; 16 * KIB * KIB]);
    let mut peers: Vec<_> = (0..8).map(|_| server.websocket(None)).collect();
    for (i, (peer, exchange)) in peers.iter_mut().enumerate() {
        let sent = exchange.send_frame(Opcode::Binary, message.clone(), 0, usize::MAX);
        assert_eq!(sent, Sent::Accepted);
        // Its turn on the loop, in which it counts the message as shared with those before it only.
        peer.write_all(&frame(1, b"turn")).unwrap();
        wait_until("it has had a turn", || {
            server.server.stats().waiting == i + 1
        });
    }
    holds(&server, KIB * KIB);
    wait_until("each counts its share", || {
        server.server.stats().held <= 17 * (KIB * KIB) as u64
    });
}

#[test]
fn requests_that_wait_for_a_thread_count() {
    let server = server(300 * KIB);
    let mut peer = uploading(&server, 1000 * KIB);
    holds(&server, 900 * KIB);
    wait_until("it is queued", || server.server.stats().waiting == 1);
    assert!(server.server.stats().held >= 900 * KIB as u64);
    let exchange = server.request();
    holds_nothing(&server);
    answer(&exchange, b"ok");
    assert_eq!(read_response(&mut peer), b"ok");
}

#[test]
fn beyond_the_limit_a_channel_whose_peer_does_not_read_is_full() {
    let server = server(300 * KIB);
    let (_slow, first) = server.websocket(None);
    let (mut quick, second) = server.websocket(None);
    let message = vec![b'x'; 64 * KIB];
    let mut sent = 0;
    while first.send_frame(Opcode::Binary, &message, 0, usize::MAX) == Sent::Accepted {
        sent += 1;
        assert!(sent < 1000, "it is never full");
        wait_until("it is counted", || {
            first.pending_bytes() < 300 * KIB || server.server.stats().held >= 300 * KIB as u64
        });
    }
    assert!(first.pending_bytes() >= 300 * KIB);
    // One that has nothing queued may send.
    assert_eq!(
        second.send_frame(Opcode::Text, b"hi", 0, usize::MAX),
        Sent::Accepted
    );
    let mut received = [0; 4];
    quick.read_exact(&mut received).unwrap();
    assert_eq!(&received[2..], b"hi");
}

#[test]
fn beyond_the_limit_a_callback_may_send_whatever_the_socket_takes() {
    let server = server(300 * KIB);
    let _upload = uploading(&server, 400 * KIB);
    holds(&server, 400 * KIB);
    let (mut peer, exchange) = server.websocket(None);
    for n in 0..4 {
        let sent = exchange.send_frame(Opcode::Text, b"hi", CORK, usize::MAX);
        assert_eq!(sent, Sent::Accepted, "frame {n}");
    }
    exchange.uncork();
    let mut received = [0; 16];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"\x81\x02hi".repeat(4).as_slice());
}

#[test]
fn beyond_the_limit_a_websocket_is_not_read_until_there_is_room() {
    let server = server(300 * KIB);
    let upload = uploading(&server, 400 * KIB);
    holds(&server, 400 * KIB);
    let (mut peer, exchange) = server.websocket(None);
    peer.write_all(&frame(1, b"one")).unwrap();
    wait_until("it has arrived", || server.server.stats().waiting > 0);
    let received = server.server.stats().totals.received;
    peer.write_all(&frame(1, b"two")).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(server.server.stats().totals.received, received);
    drop(upload);
    wait_until("it is read again", || {
        server.server.stats().totals.received > received
    });
    drop(exchange);
}
