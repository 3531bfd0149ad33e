//! Answers that the embedder encodes itself.

use std::io::{Read, Write};

use httpkit_core::h1::encoded::EncodedHead;
use httpkit_core::server::{Encoded, Interest, Mode, Responded};

use crate::support::{Running, answer, config, frame, read_head, read_response, wait_until};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const HEAD: &[u8] = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_head_says_where_it_ends_and_how_its_body_does() {
    let head = EncodedHead::of(OK).unwrap();
    assert_eq!((head.len, head.status), (OK.len() - 2, 200));
    for (fields, body, delimits) in [
        ("Content-Length: 2", 2, true),
        ("content-length:2", 2, true),
        ("Content-Length: 2", 3, false),
        ("Content-Length: 2\r\nContent-Length: 2", 2, false),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", 2, false),
        ("Content-Length: two", 2, false),
        ("Content-Length: 18446744073709551616", 2, false),
        ("Transfer-Encoding: CHUNKED", 7, true),
        ("Transfer-Encoding: gzip", 7, false),
        ("X: y", 0, false),
    ] {
        let bytes = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let head = EncodedHead::of(bytes.as_bytes()).unwrap();
        assert_eq!(head.delimits(body), delimits, "{fields}, {body} bytes");
    }
    for (value, close, keep_alive) in [
        ("close", true, false),
        ("x, CLOSE", true, false),
        ("Keep-Alive", false, true),
        ("closed", false, false),
    ] {
        let bytes = format!("HTTP/1.0 200 OK\r\nConnection: {value}\r\n\r\n");
        let head = EncodedHead::of(bytes.as_bytes()).unwrap();
        assert_eq!(
            (head.close, head.keep_alive),
            (close, keep_alive),
            "{value}"
        );
    }
}

#[test]
fn what_is_not_the_head_of_a_response_is_rejected() {
    for cut in 0..OK.len() - 2 {
        assert_eq!(EncodedHead::of(&OK[..cut]), None, "cut at {cut}");
    }
    for bytes in [
        &b"\r\n\r\n"[..],
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 99 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ] {
        let text = String::from_utf8_lossy(bytes);
        assert_eq!(EncodedHead::of(bytes), None, "{text}");
    }
}

#[test]
fn encoded_responses_are_sent_as_they_are_and_the_connection_goes_on() {
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    for _ in 0..3 {
        peer.write_all(GET).unwrap();
        let exchange = server.pushed_request();
        assert_eq!(
            exchange.respond_encoded(OK, 0, Interest::default()),
            Encoded::Done
        );
        let mut got = vec![0; OK.len()];
        peer.read_exact(&mut got).unwrap();
        assert_eq!(got, OK);
        assert_eq!(
            exchange.respond_encoded(OK, 0, Interest::default()),
            Encoded::Stale
        );
    }
    assert_eq!(server.server.accepted(), 1);
}

#[test]
fn pipelined_requests_follow_an_encoded_response() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(&GET.repeat(3)).unwrap();
    for _ in 0..3 {
        let sent = server.request().respond_encoded(OK, 0, Interest::default());
        assert_eq!(sent, Encoded::Done);
        assert_eq!(read_response(&mut peer), b"ok");
    }
}

#[test]
fn the_rest_of_an_encoded_response_may_come_in_pieces() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    let start = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n";
    let sent = exchange.respond_encoded(start, 300_000, Interest::default());
    assert_eq!(sent, Encoded::More);
    let sender = std::thread::spawn(move || {
        for _ in 0..2 {
            let answered = exchange.send_body(&[b'x'; 100_000], 0);
            assert!(matches!(answered, Responded::More));
        }
        let answered = exchange.send_body(&[b'x'; 100_000], 0);
        assert!(matches!(answered, Responded::Done(None)));
    });
    assert_eq!(read_response(&mut peer).len(), 300_000);
    sender.join().unwrap();
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn a_body_is_left_out_where_none_is_allowed() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    let not_modified = b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\nok";
    for (request, bytes, more) in [
        (HEAD, OK, 0),
        (HEAD, OK, 100_000),
        (GET, not_modified, 0),
        (GET, not_modified, 5),
    ] {
        peer.write_all(request).unwrap();
        let sent = server
            .request()
            .respond_encoded(bytes, more, Interest::default());
        assert_eq!(sent, Encoded::Done);
        read_head(&mut peer);
    }
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn a_connection_ends_where_the_peer_cannot_tell_where_the_response_does() {
    let http10: &[u8] = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    for (request, bytes) in [
        (GET, &b"HTTP/1.1 200 OK\r\n\r\nok"[..]),
        (GET, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok"),
        (
            GET,
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        ),
        (http10, OK),
    ] {
        let server = Running::start(config(Mode::Pull));
        let mut peer = server.connect();
        peer.write_all(&[request, GET].concat()).unwrap();
        let sent = server
            .request()
            .respond_encoded(bytes, 0, Interest::default());
        assert_eq!(sent, Encoded::Done);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, bytes);
        drop(peer);
        wait_until("the connection is given up", || {
            server.server.connections() == 0
        });
    }
}

#[test]
fn what_is_no_final_response_leaves_the_exchange_alone() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    for bytes in [
        &b"HTTP/1.1 200 OK\r\n"[..],
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let sent = exchange.respond_encoded(bytes, 0, Interest::default());
        assert_eq!(sent, Encoded::Malformed);
    }
    answer(&exchange, b"ok");
    assert_eq!(read_response(&mut peer), b"ok");
}

#[test]
fn an_encoded_101_opens_a_websocket() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    let handshake = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    // The first frame does not wait for the handshake's answer.
    peer.write_all(&[&handshake[..], &frame(1, b"early")].concat())
        .unwrap();
    let exchange = server.request();
    let bytes = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";
    let sent = exchange.respond_encoded(bytes, 0, Interest::default());
    assert_eq!(sent, Encoded::Upgraded);
    assert_eq!(read_head(&mut peer).as_bytes(), bytes);
    wait_until("the frame arrives", || !exchange.take_events().is_empty());
}
