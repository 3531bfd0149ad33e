//! One exchange after the other, as a peer sees them.

use std::io::{Read, Write};
use std::sync::Arc;

use httpkit_core::h1::Limits;
use httpkit_core::server::{
    Address, CLOSE, Config, Mode, Notice, Responded, ResponseHead, Sent, Server,
};

use crate::support::{
    Recorder, Running, answer, config, read_head, read_response, reply, wait_until,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn one_connection_carries_many_exchanges() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    for i in 0..100 {
        peer.write_all(GET).unwrap();
        let body = format!("answer {i}");
        answer(&server.request(), body.as_bytes());
        assert_eq!(read_response(&mut peer), body.as_bytes());
    }
    assert_eq!(server.server.accepted(), 1);
    assert_eq!(server.server.connections(), 1);
}

#[test]
fn pushed_requests_are_answered_alike() {
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    for _ in 0..10 {
        peer.write_all(GET).unwrap();
        answer(&server.pushed_request(), b"pushed");
        assert_eq!(read_response(&mut peer), b"pushed");
    }
}

#[test]
fn a_connection_ends_when_either_side_says_so() {
    let http10: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
    let close: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    for (request, flags) in [(GET, CLOSE), (http10, 0), (close, 0)] {
        let server = Running::start(config(Mode::Pull));
        let mut peer = server.connect();
        // What follows the last request is dropped.
        peer.write_all(&[request, GET].concat()).unwrap();
        let exchange = server.request();
        let reply = ResponseHead { flags, ..reply() };
        assert!(matches!(
            exchange.respond(&reply, b"last", 4),
            Responded::Done(None)
        ));
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.ends_with("\r\n\r\nlast"), "{all}");
        assert_eq!(all.matches("HTTP/1.1 200").count(), 1, "{all}");
        drop(peer);
        wait_until("the connection is given up", || {
            server.server.connections() == 0
        });
    }
}

#[test]
fn a_second_answer_is_stale_and_writes_nothing() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    answer(&exchange, b"first");
    assert!(matches!(
        exchange.respond(&reply(), b"second", 6),
        Responded::Stale
    ));
    assert!(!exchange.is_open());
    assert_eq!(exchange.pending_bytes(), 0);
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"third");
    assert_eq!(
        [read_response(&mut peer), read_response(&mut peer)],
        [b"first".to_vec(), b"third".to_vec()]
    );
    // Still stale while the next exchange of the connection is on.
    assert!(!exchange.abort());
}

#[test]
fn a_long_body_may_come_in_pieces() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    let piece = vec![b'x'; 100_000];
    let total = 10 * piece.len() as u64;
    let sender = std::thread::spawn(move || {
        let mut answered = exchange.respond(&reply(), &piece, total);
        for _ in 0..9 {
            assert!(matches!(answered, Responded::More));
            answered = exchange.send_body(&piece, 0);
        }
        assert!(matches!(answered, Responded::Done(None)));
    });
    assert_eq!(read_response(&mut peer).len() as u64, total);
    sender.join().unwrap();
}

#[test]
fn a_body_with_or_without_room_for_its_head_follows_it() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    for len in [1, 600, 16 * 1024, 100_000] {
        for room in [0, 1, 100, 1000] {
            let content: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let mut bytes = [vec![b'?'; room], content.clone()].concat();
            peer.write_all(GET).unwrap();
            let answered = server
                .request()
                .respond_in_place(&reply(), &mut bytes, room);
            assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
            assert_eq!(read_response(&mut peer), content, "{len} behind {room}");
        }
    }
}

#[test]
fn a_body_in_place_is_left_out_where_none_is_allowed() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    for room in [0, 1000] {
        peer.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        server
            .request()
            .respond_in_place(&reply(), &mut vec![b'?'; room + 600], room);
        let head = read_head(&mut peer);
        assert!(head.contains("content-length: 600\r\n"), "{head}");
    }
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn an_answer_to_a_peer_that_has_left_is_stale() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    socket2::SockRef::from(&peer)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(peer);
    wait_until("the exchange is over", || !exchange.is_open());
    assert!(matches!(
        exchange.respond(&reply(), b"late", 4),
        Responded::Stale
    ));
    wait_until("the connection is given up", || {
        server.server.connections() == 0
    });
}

#[test]
fn an_abort_resets_the_connection() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert!(exchange.abort());
    assert!(!exchange.abort(), "once");
    let error = peer.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_that_ends_without_a_response_is_not_reset() {
    let server = Running::start(config(Mode::Pull));
    for line in ["", "Connection: keep-alive\r\n"] {
        let mut peer = server.connect();
        write!(peer, "GET / HTTP/1.0\r\n{line}\r\n").unwrap();
        let exchange = server.request();
        assert_eq!(exchange.end_stream(), Sent::Accepted);
        assert_eq!(exchange.end_stream(), Sent::Closed, "once");
        assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn broken_rules_are_answered_and_reported() {
    let server = Running::start(config(Mode::Pull));
    for (request, status) in [
        (&b"GET /\r\n\r\n"[..], "400"),
        (b"GET / HTTP/1.1\r\n\r\n", "400"),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999\r\n\r\n",
            "413",
        ),
    ] {
        let mut peer = server.connect();
        peer.write_all(request).unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{all}");
    }
    wait_until("all three are reported", || {
        let notices = server.sink.notices.lock();
        notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Violation(_)))
            .count()
            == 3
    });
}

#[test]
fn the_414_to_a_head_request_has_no_body() {
    let server = Running::start(config(Mode::Pull));
    for (method, has_body) in [("GET", true), ("HEAD", false)] {
        let mut peer = server.connect();
        write!(peer, "{method} /{} HTTP/1.1\r\n\r\n", "a".repeat(9000)).unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.starts_with("HTTP/1.1 414 "), "{all}");
        assert_eq!(!all.ends_with("\r\n\r\n"), has_body, "{all}");
    }
}

#[test]
fn a_413_reaches_a_peer_that_sends_on_for_thirty_megabytes() {
    let server = Running::start(Config {
        limits: Limits::with_line(8192, 1000),
        ..config(Mode::Pull)
    });
    let chunked: &[u8] = b"Transfer-Encoding: chunked\r\n\r\n1c9c380\r\n";
    for framing in [&b"Content-Length: 30000000\r\n\r\n"[..], chunked] {
        let mut peer = server.connect();
        peer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\n").unwrap();
        peer.write_all(framing).unwrap();
        // A peer that reads only after it has sent everything.
        let piece = vec![b'x'; 100_000];
        for sent in 0..300 {
            peer.write_all(&piece)
                .unwrap_or_else(|e| panic!("after {sent} pieces: {e}"));
        }
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.starts_with("HTTP/1.1 413 "), "{all}");
    }
}

#[test]
fn a_port_is_free_again_once_its_server_is_closed() {
    let mut first = Running::start(config(Mode::Pull));
    let address = first.address();
    let mut peer = first.connect();
    peer.write_all(GET).unwrap();
    answer(&first.request(), b"x");
    read_response(&mut peer);
    let taken = Server::bind(
        &Address::Inet(address),
        config(Mode::Pull),
        Arc::new(Recorder::default()),
    );
    assert_eq!(
        taken.unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse,
        "while it listens"
    );
    first.stop();
    // The old connection, which the server ended first, lingers in the kernel.
    Server::bind(
        &Address::Inet(address),
        config(Mode::Pull),
        Arc::new(Recorder::default()),
    )
    .unwrap();
}
