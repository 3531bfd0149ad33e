//! TLS peers whose handshakes and records arrive in parts: what that means for time limits, and for a stop.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use httpkit_core::server::{Config, Interest, Mode, Read as BodyRead, Timeout, Times, Until};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::support::{answer, config, frame, read_head, read_response, wait_until};
use crate::tls_support::{Peer, Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const GRACE: Duration = Duration::from_millis(300);

/// A peer that has sent the beginning of its handshake.
fn begun(server: &Secure) -> Peer {
    let name = ServerName::try_from("localhost").unwrap();
    let config = Arc::new(server.client(&VERSIONS));
    let mut conn = ClientConnection::new(config, name).unwrap();
    let mut socket = server.socket();
    conn.write_tls(&mut socket).unwrap();
    Peer::new(conn, socket)
}

/// A peer that has had a response.
fn served(server: &Secure) -> Peer {
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"first");
    assert_eq!(read_response(&mut peer), b"first");
    peer
}

/// The next records of a peer that sends `plain`, which are not sent.
fn sealed(peer: &mut Peer, plain: &[u8]) -> Vec<u8> {
    let mut records = Vec::new();
    for piece in plain.chunks(16 * 1024) {
        peer.conn.writer().write_all(piece).unwrap();
        while peer.conn.wants_write() {
            peer.conn.write_tls(&mut records).unwrap();
        }
    }
    records
}

fn limited(times: Times) -> Secure {
    Secure::start(Config {
        times,
        ..config(Mode::Pull)
    })
}

/// Sends a record in pieces. All of them take longer than `limit`, none does.
fn send_slowly(mut socket: &TcpStream, record: &[u8], limit: Duration) {
    for piece in record.chunks(record.len().div_ceil(8)) {
        assert!(piece.len() > 1024, "no progress");
        socket.write_all(piece).unwrap();
        std::thread::sleep(limit / 4);
    }
}

#[test]
fn a_body_in_a_record_that_takes_its_time_is_progress() {
    const SIZE: usize = 16_000;
    let limit = Duration::from_secs(2);
    let times = || Times {
        body: Some(limit),
        ..Times::NONE
    };
    let whole = limited(times());
    let streaming = Secure::start(Config {
        times: times(),
        request_buffer: Some(10),
        ..config(Mode::Pull)
    });
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n");
    let mut peers = [&whole, &streaming].map(Secure::connect);
    let records = peers.each_mut().map(|peer| {
        peer.write_all(head.as_bytes()).unwrap();
        sealed(peer, &[b'x'; SIZE])
    });
    let upload = streaming.running.request();
    assert_eq!(upload.read_body(&mut [0; 10]), BodyRead::Later);
    std::thread::scope(|scope| {
        for (peer, record) in peers.iter().zip(&records) {
            scope.spawn(|| send_slowly(&peer.sock, record, limit));
        }
    });
    let mut body = vec![0; SIZE];
    wait_until("the body is there", || {
        upload.read_body(&mut body) == BodyRead::Data(SIZE)
    });
    answer(&upload, b"thanks");
    answer(&whole.running.request(), b"thanks");
    for peer in &mut peers {
        assert_eq!(read_response(peer), b"thanks");
    }
}

#[test]
fn a_trickle_of_bytes_of_a_record_is_no_progress() {
    let server = limited(Times {
        body: Some(GRACE),
        ..Times::NONE
    });
    let mut peer = server.connect();
    peer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16000\r\n\r\n")
        .unwrap();
    let record = sealed(&mut peer, &[b'x'; 16_000]);
    let mut bytes = record.chunks(1);
    wait_until("it is too slow", || {
        let _ = peer.sock.write_all(bytes.next().unwrap());
        std::thread::sleep(Duration::from_millis(5));
        server.running.server.timeouts(Timeout::Body) == 1
    });
    assert!(read_head(&mut peer).starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_request_begins_with_the_first_byte_of_its_record() {
    let server = limited(Times {
        header: Some(GRACE),
        ..Times::NONE
    });
    for trickle in [false, true] {
        let before = server.running.server.timeouts(Timeout::Header);
        let mut peer = served(&server);
        std::thread::sleep(GRACE * 4); // Idle for longer than a head may take.
        let record = sealed(&mut peer, &GET.repeat(100));
        let mut bytes = record.chunks(1);
        let began = Instant::now();
        peer.sock.write_all(bytes.next().unwrap()).unwrap();
        wait_until("it takes too long", || {
            if trickle {
                let _ = peer.sock.write_all(bytes.next().unwrap());
                std::thread::sleep(Duration::from_millis(5));
            }
            server.running.server.timeouts(Timeout::Header) == before + 1
        });
        assert!(began.elapsed() > GRACE, "early");
        assert!(read_head(&mut peer).starts_with("HTTP/1.1 408 "));
    }
}

#[test]
fn an_idle_peer_that_has_begun_a_record_is_not_idle() {
    let server = limited(Times {
        idle: Some(GRACE),
        ..Times::NONE
    });
    let (mut silent, mut begun) = (served(&server), served(&server));
    let record = sealed(&mut begun, GET);
    let (first, rest) = record.split_at(10);
    begun.sock.write_all(first).unwrap();
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it was idle");
    std::thread::sleep(GRACE * 4); // More than a round of checks.
    begun.sock.write_all(rest).unwrap();
    answer(&server.running.request(), b"second");
    assert_eq!(read_response(&mut begun), b"second");
}

#[test]
fn a_message_in_a_record_that_takes_its_time_keeps_a_websocket() {
    let limit = Duration::from_secs(2);
    let server = limited(Times {
        ws_idle: Some(limit),
        ..Times::NONE
    });
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let exchange = server.running.request();
    assert!(exchange.upgrade(b"", Interest::default(), None));
    read_head(&mut peer);
    let messages = frame(1, &[b'x'; 100]).repeat(150);
    let record = sealed(&mut peer, &messages);
    send_slowly(&peer.sock, &record, limit);
    assert!(exchange.is_open());
    assert_eq!(server.running.server.timeouts(Timeout::Ws), 0);
}

#[test]
fn a_stopping_server_waits_longer_for_a_handshake_and_for_a_record_than_for_silence() {
    let server = Secure::start(config(Mode::Pull));
    let mut silent = served(&server);
    let mut half = served(&server);
    let record = sealed(&mut half, GET);
    let (first, rest) = record.split_at(record.len() / 2);
    half.sock.write_all(first).unwrap();
    let mut shaking = begun(&server);
    let core = &server.running.server;
    wait_until("all are accepted", || core.connections() == 3);
    // The server has read what was sent once it has responded to it.
    shaking.sock.peek(&mut [0]).unwrap();
    core.drain();
    let began = Instant::now();
    wait_until("the silent one is gone", || {
        core.unfinished(GRACE, Until::Drained);
        core.connections() == 2
    });
    while began.elapsed() < GRACE * 3 / 2 {
        core.unfinished(GRACE, Until::Drained);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    half.sock.write_all(rest).unwrap();
    answer(&server.running.request(), b"second");
    assert_eq!(read_response(&mut half), b"second");
    shaking.write_all(GET).unwrap();
    answer(&server.running.request(), b"third");
    assert_eq!(read_response(&mut shaking), b"third");
    drop((half, shaking));
    wait_until("nothing is waited for", || {
        core.unfinished(GRACE, Until::Drained) == 0
    });
}

#[test]
fn a_handshake_that_is_cut_by_a_stop_is_no_request() {
    let server = Secure::start(config(Mode::Pull));
    let shaking = begun(&server);
    shaking.sock.peek(&mut [0]).unwrap();
    assert_eq!(server.running.server.close(), 0);
}
