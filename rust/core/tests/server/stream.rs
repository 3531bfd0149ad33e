use std::io::{Read, Write};

use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use httpkit_core::server::{CORK, Config, Exchange, Mode, Sent, Timeout, Work};

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
        let sent = exchange.send_chunk(&long, 0, usize::MAX);
        let written = sent == Sent::Accepted && exchange.when_drained() == Sent::Accepted;
        assert!(!written, "it could not have been read");
        assert!(matches!(server.server.take(), Some(Work::Events(_))));
    }
}

/// A server whose peers may take next to nothing for this time.
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
fn a_peer_that_takes_nothing_of_a_stream_is_cut_off_whether_or_not_a_sender_waits() {
    let server = impatient(Duration::from_millis(100));
    let waits: [fn(&Exchange) -> bool; 3] = [
        |exchange| exchange.await_room(1000),
        |exchange| exchange.send_chunk(b"more", 0, 1000) == Sent::Full,
        |_| true,
    ];
    for (i, wait) in waits.into_iter().enumerate() {
        let (_peer, exchange) = full_stream(&server);
        assert!(wait(&exchange));
        wait_until("it is cut off", || !exchange.is_open());
        wait_until("a waiting sender hears of it", || {
            i == 2 || !std::mem::take(&mut *server.sink.drained.lock()).is_empty()
        });
        assert!(!exchange.await_room(1000), "there is no peer to wait for");
        assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Closed);
        server.server.take();
        assert_eq!(server.server.timeouts(Timeout::Write), i as u64 + 1);
    }
}

#[test]
fn a_stream_with_nothing_queued_may_be_silent() {
    let time = Duration::from_millis(50);
    let server = impatient(time);
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    std::thread::sleep(time * 20); // Much longer than a peer may take nothing of what waits.
    assert_eq!(exchange.send_chunk(b"last", 0, 1000), Sent::Accepted);
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    read_head(&mut peer);
    let mut all = [0; 24];
    peer.read_exact(&mut all).unwrap();
    assert_eq!(&all, b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r\n");
}

#[test]
fn a_byte_now_and_then_does_not_keep_a_peer() {
    let server = impatient(Duration::from_millis(300));
    let (mut peer, exchange) = full_stream(&server);
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

#[test]
fn what_a_callback_holds_back_takes_no_room() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b""), Sent::Accepted);
    let piece = vec![b'x'; 100];
    for n in 0..40 {
        let sent = exchange.send_chunk(&piece, CORK, 250);
        assert_eq!(sent, Sent::Accepted, "piece {n}");
        assert!(!exchange.await_room(1), "piece {n}");
    }
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    read_head(&mut peer);
    let mut body = vec![0; 40 * 106];
    peer.read_exact(&mut body).unwrap();
    assert!(body.ends_with(b"x\r\n"));
}
