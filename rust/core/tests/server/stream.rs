use std::io::{Read, Write};

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use httpkit_core::server::{Config, Exchange, INSIST, Mode, Sent, Work};

use crate::support::{Running, config, read_head, reply, wait_until, write_timeout};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_stream_to_http_1_0_is_raw_even_if_a_websocket_was_asked_for() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"raw"), Sent::Accepted);
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(!answer.contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nraw"), "{answer}");
}

#[test]
fn what_a_reset_has_lost_does_not_count_as_written() {
    let server = Running::start(config(Mode::Pull));
    let long = vec![b'x'; 12 << 20];
    for _ in 0..50 {
        let mut peer = server.connect();
        peer.write_all(GET).unwrap();
        let exchange = server.request();
        // Unread input makes the close a reset.
        assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
        read_head(&mut peer);
        drop(peer);
        // The loop may or may not have noticed.
        exchange.send_chunk(&long, 0, usize::MAX);
        let written = !exchange.when_drained() && exchange.is_open();
        assert!(!written, "nobody could have read it");
        assert!(matches!(server.server.take(), Some(Work::Events(_))));
    }
}

/// A server whose peers may take next to nothing for so long.
fn impatient(limit: Duration) -> Running {
    Running::start(Config {
        times: write_timeout(limit),
        ..config(Mode::Pull)
    })
}

/// A peer that has read the head of a stream, of which more waits than the kernel holds.
fn full_stream(server: &Running) -> (TcpStream, Exchange) {
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b""), Sent::Accepted);
    read_head(&mut peer);
    let long = vec![b'x'; 12 << 20];
    assert_eq!(exchange.send_chunk(&long, 0, usize::MAX), Sent::Accepted);
    assert!(exchange.pending_bytes() > 1 << 20);
    (peer, exchange)
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off_if_a_sender_waits_for_room() {
    let server = impatient(Duration::from_millis(100));
    let waits: [fn(&Exchange) -> bool; 2] = [
        |exchange| exchange.await_room(1000),
        |exchange| exchange.send_chunk(b"more", INSIST, 1000) == Sent::Full,
    ];
    for wait in waits {
        let (_peer, exchange) = full_stream(&server);
        assert!(wait(&exchange));
        wait_until("it is cut off", || !exchange.is_open());
        wait_until("the sender hears of it", || {
            !std::mem::take(&mut *server.sink.drained.lock()).is_empty()
        });
        assert!(!exchange.await_room(1000), "nobody is there to wait for");
        assert_eq!(exchange.send_chunk(b"more", INSIST, 1000), Sent::Closed);
        server.server.take();
    }
}

#[test]
fn a_peer_that_takes_nothing_is_kept_if_no_sender_waits() {
    let time = Duration::from_millis(50);
    let server = impatient(time);
    let (_peer, exchange) = full_stream(&server);
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Full);
    std::thread::sleep(time * 10); // Ten times as long as an insisting sender would have waited.
    assert!(exchange.is_open());
}

#[test]
fn a_byte_now_and_then_does_not_keep_a_peer_whose_sender_waits() {
    let server = impatient(Duration::from_millis(300));
    let (mut peer, exchange) = full_stream(&server);
    assert!(exchange.await_room(1000));
    let mut byte = [0];
    wait_until("it is cut off", || {
        let _ = peer.read(&mut byte);
        !exchange.is_open()
    });
}

#[test]
fn a_peer_that_takes_from_the_kernel_what_we_wrote_is_kept() {
    /// What the kernel holds becomes less with each look.
    static HELD: AtomicU64 = AtomicU64::new(1 << 20);
    let time = Duration::from_millis(50);
    let server = Running::start(Config {
        times: write_timeout(time),
        unsent: |_| HELD.fetch_sub(1024, Ordering::Relaxed),
        ..config(Mode::Pull)
    });
    let (_peer, exchange) = full_stream(&server);
    assert!(exchange.await_room(1000));
    std::thread::sleep(time * 10); // Ten times as long as it may take nothing.
    assert!(exchange.is_open());
    assert!(HELD.load(Ordering::Relaxed) < 1 << 20);
}

#[test]
fn who_waits_for_room_hears_when_there_is_some() {
    let server = impatient(crate::support::PATIENCE);
    let (mut peer, exchange) = full_stream(&server);
    assert!(exchange.await_room(1000));
    let mut rest = vec![0; 12 << 20];
    peer.read_exact(&mut rest).unwrap();
    wait_until("there is room", || {
        !std::mem::take(&mut *server.sink.drained.lock()).is_empty()
    });
    assert!(!exchange.await_room(1000));
    assert_eq!(exchange.end_stream(), Sent::Accepted);
}
