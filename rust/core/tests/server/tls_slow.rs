//! TLS peers whose handshakes and records arrive in parts: what that means for time limits, and for a stop.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use httpkit_core::server::Mode;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::support::{answer, config, read_response, wait_until};
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
        core.unfinished(GRACE, true);
        core.connections() == 2
    });
    while began.elapsed() < GRACE * 3 / 2 {
        core.unfinished(GRACE, true);
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
        core.unfinished(GRACE, true) == 0
    });
}

#[test]
fn a_handshake_that_is_cut_by_a_stop_is_no_request() {
    let server = Secure::start(config(Mode::Pull));
    let shaking = begun(&server);
    shaking.sock.peek(&mut [0]).unwrap();
    assert_eq!(server.running.server.close(), 0);
}
