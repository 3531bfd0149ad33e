//! TLS: what peers see of it, and that nothing that they send harms another connection.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use httpkit_core::server::{Exchange, Mode, Notice, Responded, TlsInfo};
use rustls::{ClientConnection, HandshakeKind};

use crate::support::{answer, config, read_response, reply, wait_until};
use crate::tls_support::{Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Bytes of which every position can be told from its neighbours.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

fn info(exchange: &Exchange) -> TlsInfo {
    exchange.tls().expect("a TLS session")
}

#[test]
fn one_tls_connection_carries_many_exchanges_in_both_versions() {
    let server = Secure::start(config(Mode::Pull));
    for (version, name) in VERSIONS.into_iter().zip(["TLSv1.3", "TLSv1.2"]) {
        let mut peer = server.connect_with(Arc::new(server.client(&[version])));
        for len in [0, 1, 150, 16_384, 16_385, 70_000, 3_000_001] {
            peer.write_all(GET).unwrap();
            let exchange = server.running.request();
            assert_eq!(info(&exchange).version, name);
            assert_eq!(info(&exchange).name.as_deref(), Some("localhost"));
            assert!(info(&exchange).cipher.contains("AES"));
            let sender = std::thread::spawn(move || answer(&exchange, &content(len)));
            assert!(read_response(&mut peer) == content(len), "{len} bytes");
            sender.join().unwrap();
        }
    }
    assert_eq!(server.running.server.accepted(), 2);
    let handshakes = &server.running.server.tls().handshakes;
    assert_eq!(handshakes.counts(), [2, 0, 0]);
}

#[test]
fn pushed_and_pipelined_requests_are_answered_in_order_over_tls() {
    let server = Secure::start(config(Mode::Push));
    let mut peer = server.connect();
    peer.write_all(&GET.repeat(20)).unwrap();
    for i in 0..20 {
        let body = format!("answer {i}");
        answer(&server.running.pushed_request(), body.as_bytes());
        assert_eq!(read_response(&mut peer), body.as_bytes());
    }
}

#[test]
fn a_hello_that_cannot_be_read_gets_an_alert() {
    let server = Secure::start(config(Mode::Pull));
    let decode_error = [0x15, 3, 3, 0, 2, 2, 50];
    for hello in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x16\x03\x01\x00\x05\x01\xff\xff\xff\x00",
        b"\x16\x03\x01\x00\x05\x01\x00\xff\xff\x00\x17\x03\x03\x00\x01x",
        b"\x16\x02\x01\x00\x05\x01\x00\x00\x01\x00",
    ] {
        let mut peer = server.socket();
        peer.write_all(hello).unwrap();
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, decode_error, "{hello:x?}");
    }
}

#[test]
fn the_plain_port_beside_it_stays_plain() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.running.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    assert!(exchange.tls().is_none());
    answer(&exchange, b"plain");
    assert_eq!(read_response(&mut peer), b"plain");
}

#[test]
fn a_request_in_records_of_one_byte_each_and_writes_of_one_byte_arrives() {
    bytes_one_by_one(&Secure::start(config(Mode::Pull)));
    bytes_one_by_one(&Secure::with_rsa(config(Mode::Pull)));
}

fn bytes_one_by_one(server: &Secure) {
    for version in VERSIONS {
        let mut peer = server.connect_with(Arc::new(server.client(&[version])));
        let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 40\r\n\r\n";
        for byte in request.iter().chain(&[b'x'; 40]) {
            peer.conn.writer().write_all(&[*byte]).unwrap();
            while peer.conn.is_handshaking() {
                peer.conn.complete_io(&mut peer.sock).unwrap();
            }
            let mut record = Vec::new();
            peer.conn.write_tls(&mut record).unwrap();
            for byte in record {
                peer.sock.write_all(&[byte]).unwrap();
            }
        }
        answer(&server.running.request(), b"all");
        assert_eq!(read_response(&mut peer), b"all");
    }
}

#[test]
fn a_long_body_is_received_whole() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    let body = content(5_000_000);
    write!(
        peer,
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .unwrap();
    peer.write_all(&body).unwrap();
    let Some(httpkit_core::server::Work::Request(request)) = server.running.server.take() else {
        panic!("no request");
    };
    let exchange = request.exchange.clone();
    let block = request.into_block(7);
    let at = |i: usize| u32::from_le_bytes(block[i..i + 4].try_into().unwrap()) as usize;
    assert!(block[at(40)..at(40) + at(44)] == body);
    assert_eq!(
        block[10] & 32,
        32,
        "it is marked as one that came through TLS"
    );
    assert!(exchange.bind(7));
    answer(&exchange, b"received");
    assert_eq!(read_response(&mut peer), b"received");
}

/// What a client sends first.
fn client_hello(server: &Secure) -> Vec<u8> {
    let name = "localhost".try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(server.client(&VERSIONS)), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn a_handshake_cut_at_any_byte_ends_only_its_own_connection() {
    cut_handshakes(&Secure::start(config(Mode::Pull)));
    cut_handshakes(&Secure::with_rsa(config(Mode::Pull)));
}

fn cut_handshakes(server: &Secure) {
    let hello = client_hello(server);
    let mut other = server.connect();
    for cut in 0..hello.len() {
        let mut peer = server.socket();
        peer.write_all(&hello[..cut]).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        let _ = peer.read_to_end(&mut rest);
    }
    other.write_all(GET).unwrap();
    answer(&server.running.request(), b"fine");
    assert_eq!(read_response(&mut other), b"fine");
    let failed = &server.running.server.tls().handshakes.failed;
    wait_until("all that have begun are counted", || {
        failed.load(Ordering::Relaxed) as usize == hello.len() - 1
    });
    wait_until("no connection is left of them", || {
        server.running.server.connections() == 1
    });
}

#[test]
fn garbage_instead_of_a_handshake_gets_an_alert_and_ends_only_its_own_connection() {
    hellos_with_a_changed_byte(&Secure::start(config(Mode::Pull)));
    hellos_with_a_changed_byte(&Secure::with_rsa(config(Mode::Pull)));
}

fn hellos_with_a_changed_byte(server: &Secure) {
    let hello = client_hello(server);
    for at in 0..hello.len() {
        let mut changed = hello.clone();
        changed[at] ^= 0x55;
        let mut peer = server.socket();
        peer.write_all(&changed).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Where the change does no harm, this is the server's side of the handshake.
        let _ = peer.read_to_end(&mut answer);
    }
    let mut peer = server.socket();
    peer.write_all(&[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]).unwrap();
    let mut alert = Vec::new();
    peer.read_to_end(&mut alert).unwrap();
    assert_eq!(alert[..3], [0x15, 3, 3], "an alert: {alert:?}");
    let mut other = server.connect();
    other.write_all(GET).unwrap();
    answer(&server.running.request(), b"fine");
    assert_eq!(read_response(&mut other), b"fine");
    let reports = server.running.sink.notices.lock();
    assert!(
        reports
            .iter()
            .any(|notice| matches!(notice, Notice::Handshake(_)))
    );
}

#[test]
fn a_changed_record_ends_the_connection_and_its_content_is_never_seen() {
    let server = Secure::start(config(Mode::Pull));
    for version in VERSIONS {
        let mut peer = server.connect_with(Arc::new(server.client(&[version])));
        peer.write_all(GET).unwrap();
        answer(&server.running.request(), b"first");
        assert_eq!(read_response(&mut peer), b"first");
        peer.conn.writer().write_all(GET).unwrap();
        let mut record = Vec::new();
        peer.conn.write_tls(&mut record).unwrap();
        *record.last_mut().unwrap() ^= 1;
        peer.sock.write_all(&record).unwrap();
        let error = peer.read(&mut [0]).unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    }
    assert_eq!(server.running.server.stats().waiting, 0);
}

#[test]
fn a_request_counts_though_its_session_fails_within_its_body() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nabc")
        .unwrap();
    let stats = || server.running.server.stats();
    wait_until("it has arrived", || stats().buffered == 3);
    peer.sock
        .write_all(&[&[0x17, 3, 3, 0, 20][..], &[0; 20]].concat())
        .unwrap();
    let error = peer.read(&mut [0]).unwrap_err();
    assert!(error.to_string().contains("BadRecordMac"), "{error}");
    assert_eq!(stats().totals.requests, 1);
}

#[test]
fn a_session_is_resumed_with_a_ticket() {
    let server = Secure::start(config(Mode::Pull));
    for version in VERSIONS {
        let client = Arc::new(server.client(&[version]));
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut peer = server.connect_with(client.clone());
            peer.write_all(GET).unwrap();
            let exchange = server.running.request();
            assert_eq!(info(&exchange).name.as_deref(), Some("localhost"));
            answer(&exchange, b"x");
            assert_eq!(read_response(&mut peer), b"x");
            assert_eq!(peer.conn.handshake_kind(), Some(kind), "{version:?}");
        }
    }
    let handshakes = &server.running.server.tls().handshakes;
    assert_eq!(handshakes.counts(), [4, 2, 0]);
}

#[test]
fn a_peer_that_is_silent_in_the_handshake_does_not_keep_a_stop_waiting() {
    let mut server = Secure::start(config(Mode::Pull));
    let mut peer: TcpStream = server.socket();
    peer.write_all(&client_hello(&server)[..20]).unwrap();
    wait_until("it is accepted", || server.running.server.accepted() == 1);
    server.running.stop();
    let mut rest = Vec::new();
    assert!(matches!(peer.read_to_end(&mut rest), Ok(0) | Err(_)));
}

#[test]
fn a_response_may_come_in_pieces_that_are_offered() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    let body = content(10_000_000);
    let whole = body.clone();
    let sender = std::thread::spawn(move || {
        let mut responded = exchange.respond(&reply(), &[], body.len() as u64);
        let mut sent = 0;
        while sent < body.len() {
            assert!(matches!(responded, Responded::More), "{responded:?}");
            let (taken, next) = exchange.offer_body(&body[sent..], 0);
            sent += taken;
            responded = next;
            std::thread::yield_now();
        }
        assert!(matches!(responded, Responded::Done(None)), "{responded:?}");
    });
    assert!(read_response(&mut peer) == whole);
    sender.join().unwrap();
}
