//! Streams, files and WebSockets over TLS, and how a TLS connection ends.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use httpkit_core::server::{
    CLOSE, CORK, Config, Event, Interest, Mode, Responded, ResponseHead, Sent, Times, Work,
};
use httpkit_core::ws::Opcode;

use crate::support::{answer, config, frame, read_head, read_response, reply, wait_until};
use crate::tls_support::{Peer, Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// More than the sockets' buffers hold on both sides.
const LONG: usize = 24 * 1024 * 1024;

fn content(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i % 251) as u8).collect()
}

/// A file that has no name any more.
fn file(content: &[u8]) -> File {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let n = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("httpkit-tls-{}-{n}", std::process::id()));
    std::fs::write(&path, content).unwrap();
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file
}

fn last() -> ResponseHead<'static> {
    ResponseHead {
        flags: CLOSE,
        ..reply()
    }
}

/// All that comes until the peer has said that this was all: without that, it is an error.
#[track_caller]
fn rest(peer: &mut Peer) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    all
}

#[test]
fn files_of_any_length_arrive_whole_over_tls() {
    let server = Secure::start(config(Mode::Pull));
    for version in VERSIONS {
        let mut peer = server.connect_with(Arc::new(server.client(&[version])));
        for len in [0, 1, 16_384, 65_536, 65_537, 3_000_001] {
            peer.write_all(GET).unwrap();
            let file = file(&content(len));
            server
                .running
                .request()
                .respond_file(&reply(), file, 0, len as u64);
            assert!(read_response(&mut peer) == content(len), "{len} bytes");
        }
    }
}

#[test]
fn a_file_waits_for_a_slow_peer_and_its_end_is_told() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    let responded = exchange.respond_file(&last(), file(&content(LONG)), 0, LONG as u64);
    assert!(matches!(responded, Responded::Done(None)), "{responded:?}");
    let mut other = server.connect();
    other.write_all(GET).unwrap();
    answer(&server.running.request(), b"meanwhile");
    assert_eq!(read_response(&mut other), b"meanwhile");
    read_head(&mut peer);
    assert!(rest(&mut peer) == content(LONG));
}

#[test]
fn a_file_that_is_too_short_ends_without_a_close_notify() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    server
        .running
        .request()
        .respond_file(&last(), file(b"short"), 0, 100_000);
    let mut all = Vec::new();
    let error = peer.read_to_end(&mut all).unwrap_err();
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
        ),
        "{error}"
    );
}

#[test]
fn a_connection_ends_with_a_close_notify_whichever_side_ends_it() {
    let server = Secure::start(config(Mode::Pull));
    for version in VERSIONS {
        let connect = || server.connect_with(Arc::new(server.client(&[version])));
        let mut peer = connect();
        peer.write_all(GET).unwrap();
        let body = content(1_000_000);
        let exchange = server.running.request();
        exchange.respond(&last(), &body, body.len() as u64);
        assert!(rest(&mut peer).ends_with(&body));

        // The client says first that this was all.
        let mut peer = connect();
        peer.write_all(GET).unwrap();
        answer(&server.running.request(), b"x");
        assert_eq!(read_response(&mut peer), b"x");
        peer.conn.send_close_notify();
        peer.flush().unwrap();
        assert!(rest(&mut peer).is_empty());

        // A body without a length, which ends with the connection.
        let mut peer = connect();
        peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let exchange = server.running.request();
        assert_eq!(exchange.stream(&reply(), b"until "), Sent::Accepted);
        assert_eq!(exchange.send_chunk(b"the end", 0, 1000), Sent::Accepted);
        assert_eq!(exchange.end_stream(), Sent::Accepted);
        assert!(rest(&mut peer).ends_with(b"until the end"));

        // A rule that was broken.
        let mut peer = connect();
        peer.write_all(b"GET /\r\n\r\n").unwrap();
        assert!(rest(&mut peer).starts_with(b"HTTP/1.1 400"));
    }
    wait_until("all are gone", || server.running.server.connections() == 0);
}

#[test]
fn a_stopped_server_tells_idle_peers_that_this_was_all() {
    let mut server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"x");
    assert_eq!(read_response(&mut peer), b"x");
    server.running.stop();
    assert!(rest(&mut peer).is_empty());
}

#[test]
fn an_abort_is_no_end() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    read_head(&mut peer);
    assert!(exchange.abort());
    let mut all = Vec::new();
    let error = peer.read_to_end(&mut all).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
}

#[test]
fn a_client_that_half_closes_in_either_way_gets_its_response() {
    let server = Secure::start(config(Mode::Pull));
    for notice in [true, false] {
        for version in VERSIONS {
            let mut peer = server.connect_with(Arc::new(server.client(&[version])));
            peer.write_all(GET).unwrap();
            let exchange = server.running.request();
            let before = server.running.server.ended();
            if notice {
                peer.conn.send_close_notify();
                peer.flush().unwrap();
            } else {
                peer.sock.shutdown(Shutdown::Write).unwrap();
            }
            wait_until("the end is seen", || server.running.server.ended() > before);
            answer(&exchange, b"late");
            assert_eq!(read_response(&mut peer), b"late", "{notice} {version:?}");
            assert!(rest(&mut peer).is_empty());
        }
    }
}

#[test]
fn a_stream_in_pieces_of_any_size_arrives_in_order_from_other_threads() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    assert_eq!(exchange.stream(&reply(), b""), Sent::Accepted);
    let sizes = [1, 10, 1000, 16_383, 20_000, 200_000, 3_000_000, 5];
    let sender = std::thread::spawn(move || {
        let mut all = Vec::new();
        for size in sizes {
            let piece = content(size);
            assert_eq!(
                exchange.send_chunk(&piece, CORK, usize::MAX),
                Sent::Accepted
            );
            all.extend(piece);
        }
        exchange.uncork();
        exchange.end_stream();
        all
    });
    read_head(&mut peer);
    let mut got = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        let text = String::from_utf8(line).unwrap();
        let len = usize::from_str_radix(text.trim(), 16).unwrap();
        let mut chunk = vec![0; len + 2];
        peer.read_exact(&mut chunk).unwrap();
        if len == 0 {
            break;
        }
        got.extend_from_slice(&chunk[..len]);
    }
    assert!(got == sender.join().unwrap());
}

#[test]
fn a_sender_that_waits_for_a_slow_peer_is_told_when_all_is_sent() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    let long = content(LONG);
    assert_eq!(exchange.stream(&reply(), &long), Sent::Accepted);
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Full);
    assert!(exchange.pending_bytes() > 1000);
    assert!(server.running.sink.drained.lock().is_empty());
    read_head(&mut peer);
    let mut head = [0; 9];
    peer.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"1800000\r\n");
    let mut body = vec![0; LONG];
    peer.read_exact(&mut body).unwrap();
    assert!(body == long);
    wait_until("the sender is told", || {
        !server.running.sink.drained.lock().is_empty()
    });
    assert_eq!(exchange.pending_bytes(), 0);
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Accepted);
}

#[test]
fn a_websocket_over_tls_echoes_messages_of_any_size_and_closes_properly() {
    for version in VERSIONS {
        let server = Secure::start(config(Mode::Pull));
        let mut peer = server.connect_with(Arc::new(server.client(&[version])));
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
            .unwrap();
        let exchange = server.running.request();
        assert!(exchange.upgrade(b"", Interest::default(), None));
        read_head(&mut peer);
        peer.write_all(&frame(1, b"hello")).unwrap();
        let Some(Work::Events(events)) = server.running.server.take() else {
            panic!("no event");
        };
        assert_eq!(events.take_events(), [Event::Text(b"hello".to_vec())]);
        assert!(events.take_events().is_empty());
        for len in [5, 70_000, 2_000_000] {
            let message = content(len);
            let sender = exchange.clone();
            let sent = message.clone();
            let thread =
                std::thread::spawn(move || sender.send_frame(Opcode::Binary, &sent, 0, usize::MAX));
            let head = if len < 126 { 2 } else { 10 };
            let mut got = vec![0; head + len];
            peer.read_exact(&mut got).unwrap();
            assert!(got[head..] == message, "{len}");
            assert_eq!(thread.join().unwrap(), Sent::Accepted);
        }
        assert!(exchange.close(1000, "done"));
        let mut close = [0; 8];
        peer.read_exact(&mut close).unwrap();
        assert_eq!(close[..4], [0x88, 6, 3, 0xe8]);
        peer.write_all(&frame(8, &1000u16.to_be_bytes())).unwrap();
        assert!(rest(&mut peer).is_empty());
    }
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let server = Secure::start(Config {
        times: Times {
            write: Some(std::time::Duration::from_millis(300)),
            ..config(Mode::Pull).times
        },
        ..config(Mode::Pull)
    });
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let body = content(LONG);
    let exchange = server.running.request();
    exchange.respond_file(&reply(), file(&body), 0, LONG as u64);
    wait_until("it is given up", || {
        server.running.server.connections() == 0
    });
}
