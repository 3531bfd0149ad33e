//! Handshakes with RSA keys: a loop never signs.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use httpkit_core::server::Mode;
use rustls::{ClientConnection, HandshakeKind, StreamOwned};

use crate::support::{answer, config, read_response, wait_until};
use crate::tls_support::{Peer, Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Runs the test of this name again in a process of its own, whose threads are those of its server; true in there.
fn is_alone(test: &str) -> bool {
    const ALONE: &str = "HTTPKIT_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(ALONE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{test}, alone");
    false
}

/// Threads of this process that sign.
fn signers() -> usize {
    fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.trim() == "http-kit-sign")
        .count()
}

fn serve(server: &Secure, peer: &mut Peer) {
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"ok");
    assert_eq!(read_response(peer), b"ok");
}

#[test]
fn a_thread_other_than_a_loop_signs_and_ends_with_the_server() {
    if !is_alone("tls_signing::a_thread_other_than_a_loop_signs_and_ends_with_the_server") {
        return;
    }
    let mut server = Secure::with_rsa(config(Mode::Pull));
    // They end without work, so each handshake is followed by a look.
    let mut most = 0;
    for version in VERSIONS {
        let client = Arc::new(server.client(&[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut peer = server.connect_with(client.clone());
            serve(&server, &mut peer);
            most = most.max(signers());
            assert_eq!(peer.conn.handshake_kind(), Some(expected));
        }
    }
    assert!(most > 0);
    server.running.stop();
    drop(server);
    wait_until("it has ended", || signers() == 0);
}

#[test]
fn a_hello_in_single_bytes_is_signed_once_it_is_whole() {
    let server = Secure::with_rsa(config(Mode::Pull));
    for version in VERSIONS {
        let config = Arc::new(server.client(&[version]));
        let name = "localhost".try_into().unwrap();
        let mut client = ClientConnection::new(config, name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        let mut socket = server.socket();
        socket.set_nodelay(true).unwrap();
        for byte in hello {
            socket.write_all(&[byte]).unwrap();
        }
        serve(&server, &mut StreamOwned::new(client, socket));
    }
}

#[test]
fn many_clients_at_once_are_all_served() {
    let server = Secure::with_rsa(config(Mode::Pull));
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..40)
            .map(|at| {
                let server = &server;
                scope.spawn(move || {
                    let config = server.client(&[VERSIONS[at % 2]]);
                    let mut peer = server.connect_with(Arc::new(config));
                    peer.write_all(GET).unwrap();
                    read_response(&mut peer)
                })
            })
            .collect();
        for _ in 0..40 {
            answer(&server.running.request(), b"ok");
        }
        for peer in peers {
            assert_eq!(peer.join().unwrap(), b"ok");
        }
    });
    let handshakes = &server.running.server.tls().handshakes;
    assert_eq!(handshakes.counts(), [40, 0, 0]);
}

#[test]
fn a_client_that_keeps_sending_before_the_servers_hello_is_cut_off() {
    let server = Secure::with_rsa(config(Mode::Pull));
    let mut socket = server.socket();
    // The beginning of a hello that is longer than any.
    let record = [
        &[0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..],
        &[0; 0x4000 - 4],
    ]
    .concat();
    for _ in 0..10 {
        if socket.write_all(&record).is_err() {
            break;
        }
    }
    let _ = socket.shutdown(Shutdown::Write);
    let mut rest = Vec::new();
    let _ = socket.read_to_end(&mut rest);
    let failed = &server.running.server.tls().handshakes.failed;
    wait_until("it is counted", || failed.load(Ordering::Relaxed) == 1);
    serve(&server, &mut server.connect());
}
