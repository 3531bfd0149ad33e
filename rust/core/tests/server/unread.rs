//! Peers that do not read, or slowly: where what they are sent is kept, and for how long.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use httpkit_core::server::{
    Config, Event, Exchange, Interest, Kept, Mode, Notice, Responded, ResponseHead, Sent, Source,
    Timeout,
};
use httpkit_core::ws::Opcode;

use crate::support::{
    Running, closings, config, read_head, read_response, reply, wait_until, write_timeout,
};

const SIZE: usize = 20_000_000;
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Bytes of which every position can be told from its neighbours.
fn content(at: usize, len: usize) -> Vec<u8> {
    (at..at + len).map(|i| (i % 251) as u8).collect()
}

#[derive(Debug, Default)]
struct Content {
    fails: AtomicBool,
}

impl Source for Content {
    fn copy(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::other("it is gone"));
        }
        to.copy_from_slice(&content(at, to.len()));
        Ok(())
    }
}

/// Responds with all of a source; the response is complete at once. It is all that keeps the source.
fn respond(exchange: &Exchange, flags: u32) -> Weak<Content> {
    let source = Arc::new(Content::default());
    let kept = Arc::downgrade(&source);
    let reply = ResponseHead { flags, ..reply() };
    let begun = exchange.respond(&reply, &[], SIZE as u64);
    assert!(matches!(begun, Responded::More), "{begun:?}");
    let (at, len) = (0, SIZE);
    let answered = exchange.send_rest(Kept { source, at, len }, flags);
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
    kept
}

/// Bytes that the kernel holds for a peer of a server: sent and not acknowledged, or not sent. A connection is found by
/// both its ports, since a peer's port may stand in the table for an earlier server's connection too, which has ended.
#[cfg(target_os = "linux")]
fn queued_for(peer: &TcpStream) -> usize {
    let port = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let ours = port(peer.peer_addr().unwrap());
    let theirs = port(peer.local_addr().unwrap());
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    table
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|fields| fields[1].ends_with(&ours) && fields[2].ends_with(&theirs))
        .map_or(0, |fields| {
            let (sending, _) = fields[4].split_once(':').unwrap();
            usize::from_str_radix(sending, 16).unwrap()
        })
}

/// A server with this `:write-timeout`.
fn impatient(time: Duration) -> Running {
    Running::start(Config {
        times: write_timeout(time),
        ..config(Mode::Pull)
    })
}

fn asking(server: &Running) -> (TcpStream, Exchange) {
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    (peer, exchange)
}

fn is_dropped(source: &Weak<Content>) -> bool {
    source.strong_count() == 0
}

#[test]
fn a_body_is_copied_from_its_source_as_the_peer_reads() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = asking(&server);
    let source = respond(&exchange, 0);
    assert!(!is_dropped(&source), "the peer has yet to read");
    assert!(read_response(&mut peer) == content(0, SIZE));
    wait_until("the source is dropped", || is_dropped(&source));
    // The connection goes on.
    peer.write_all(GET).unwrap();
    respond(&server.request(), 0);
    assert!(read_response(&mut peer) == content(0, SIZE));
}

#[test]
fn a_body_may_be_offered_first_and_come_from_several_sources() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = asking(&server);
    let all = content(0, SIZE);
    assert!(matches!(
        exchange.respond(&reply(), &all[..10], SIZE as u64),
        Responded::More
    ));
    let (mut at, mut answered) = (10, Responded::More);
    let mut full = false;
    while !full {
        let piece = &all[at..(at + 100_000).min(SIZE)];
        let (taken, outcome) = exchange.offer_body(piece, 0);
        full = taken < piece.len();
        (at, answered) = (at + taken, outcome);
    }
    while matches!(answered, Responded::More) {
        let source: Arc<dyn Source> = Arc::new(Content::default());
        let len = 7_000_000.min(SIZE - at);
        answered = exchange.send_rest(Kept { source, at, len }, 0);
        at += len;
    }
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
    assert!(read_response(&mut peer) == all);
}

#[test]
fn a_source_is_dropped_when_its_peer_leaves_or_the_server_stops() {
    let mut server = Running::start(config(Mode::Pull));
    let (peer, exchange) = asking(&server);
    let source = respond(&exchange, 0);
    drop(peer);
    wait_until("the source is dropped", || is_dropped(&source));
    let (_peer, exchange) = asking(&server);
    let source = respond(&exchange, 0);
    server.stop();
    assert!(is_dropped(&source));
}

#[test]
fn a_source_that_fails_cuts_its_connection_and_is_told_of() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = asking(&server);
    let source = respond(&exchange, 0);
    let failing = source.upgrade().unwrap();
    failing.fails.store(true, Ordering::Relaxed);
    drop(failing);
    let mut bytes = Vec::new();
    let ended = peer.read_to_end(&mut bytes);
    assert!(ended.is_err() || bytes.len() < SIZE, "{ended:?}");
    wait_until("it is told of", || {
        let notices = server.sink.notices.lock();
        notices
            .iter()
            .any(|n| matches!(n, Notice::File(text) if text.contains("it is gone")))
    });
    wait_until("the source is dropped", || is_dropped(&source));
}

#[test]
fn a_peer_that_takes_nothing_of_a_response_for_long_is_cut_off_whatever_it_is_made_of() {
    let server = impatient(Duration::from_millis(200));
    // The last of its connection, and one of a connection that would go on.
    for flags in [0, httpkit_core::server::CLOSE] {
        let (_peer, exchange) = asking(&server);
        let source = respond(&exchange, flags);
        wait_until("it is cut off", || server.server.connections() == 0);
        assert!(is_dropped(&source));
        wait_until("it is counted", || {
            server.server.timeouts(Timeout::Write) > 0
        });
        let (_peer, exchange) = asking(&server);
        let body = content(0, SIZE);
        exchange.respond(&ResponseHead { flags, ..reply() }, &body, SIZE as u64);
        wait_until("it is cut off", || server.server.connections() == 0);
    }
}

#[test]
fn a_peer_that_reads_now_and_then_is_not_cut_off() {
    const TIME: Duration = Duration::from_secs(2);
    let server = impatient(TIME);
    let (mut peer, exchange) = asking(&server);
    respond(&exchange, 0);
    read_head(&mut peer);
    let mut body = vec![0; SIZE];
    // More than the kernel holds each time, and longer than the time in all.
    for part in body.chunks_mut(SIZE / 4) {
        std::thread::sleep(TIME / 2);
        peer.read_exact(part).unwrap();
    }
    assert!(body == content(0, SIZE));
}

#[test]
fn a_peer_that_stops_reading_is_cut_off_within_the_time_and_a_second() {
    const TIME: Duration = Duration::from_secs(4);
    let server = impatient(TIME);
    let (mut peer, exchange) = asking(&server);
    respond(&exchange, 0);
    read_head(&mut peer);
    peer.read_exact(&mut vec![0; SIZE / 4]).unwrap();
    let stopped = Instant::now();
    wait_until("it is cut off", || server.server.connections() == 0);
    let took = stopped.elapsed();
    // The rest is for machines under load. The end of a second wait would come at twice the time.
    assert!(took < TIME + Duration::from_millis(3500), "{took:?}");
}

#[test]
fn a_peer_that_takes_nothing_of_what_a_channel_has_queued_is_cut_off() {
    let server = impatient(Duration::from_millis(200));
    let body = content(0, SIZE);
    let (_peer, stream) = asking(&server);
    assert!(stream.watch_peer());
    assert_eq!(stream.stream(&reply(), &body), Sent::Accepted);
    let (_other, websocket) = server.websocket(None);
    let sent = websocket.send_frame(Opcode::Binary, &body, 0, usize::MAX);
    assert_eq!(sent, Sent::Accepted);
    wait_until("both are cut off", || server.server.connections() == 0);
    assert_eq!(server.server.timeouts(Timeout::Write), 2);
    let work = std::iter::from_fn(|| server.server.take())
        .take(2)
        .collect();
    let mut told = closings(work);
    told.sort_by_key(|event| format!("{event:?}"));
    let closed = |code| Event::Closed(code, String::new());
    assert_eq!(told, [closed(-1), closed(1001)]);
}

#[test]
fn a_peer_that_reads_a_channel_now_and_then_is_not_cut_off() {
    const TIME: Duration = Duration::from_secs(2);
    let server = impatient(TIME);
    let (mut peer, exchange) = server.websocket(None);
    let message = content(0, SIZE);
    let sent = exchange.send_frame(Opcode::Binary, &message, 0, usize::MAX);
    assert_eq!(sent, Sent::Accepted);
    let mut head = [0; 10];
    peer.read_exact(&mut head).unwrap();
    let mut read = vec![0; SIZE];
    // More than the kernel holds each time, and longer than the time in all.
    for part in read.chunks_mut(SIZE / 4) {
        std::thread::sleep(TIME / 2);
        peer.read_exact(part).unwrap();
    }
    assert!(read == message);
    assert!(exchange.is_open());
}

#[test]
fn shared_bytes_reach_every_peer_in_their_frames_and_chunks() {
    let server = Running::start(config(Mode::Pull));
    let shared = Arc::new(content(0, SIZE));
    let mut readers = Vec::new();
    for _ in 0..2 {
        let (mut peer, exchange) = asking(&server);
        assert!(exchange.watch_peer());
        assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
        assert_eq!(
            exchange.send_chunk(shared.clone(), 0, usize::MAX),
            Sent::Accepted
        );
        assert_eq!(exchange.send_chunk(b"last", 0, usize::MAX), Sent::Accepted);
        assert_eq!(exchange.end_stream(), Sent::Accepted);
        readers.push(std::thread::spawn(move || {
            read_head(&mut peer);
            let head = format!("5\r\nfirst\r\n{SIZE:x}\r\n");
            let mut bytes = vec![0; head.len() + SIZE];
            peer.read_exact(&mut bytes).unwrap();
            assert!(bytes.starts_with(head.as_bytes()));
            assert!(bytes[head.len()..] == content(0, SIZE));
            let mut end = [0; 16];
            peer.read_exact(&mut end).unwrap();
            assert_eq!(&end, b"\r\n4\r\nlast\r\n0\r\n\r\n");
        }));
        let (mut peer, exchange) = server.websocket(None);
        let sent = exchange.send_frame(Opcode::Binary, shared.clone(), 0, usize::MAX);
        assert_eq!(sent, Sent::Accepted);
        let sent = exchange.send_frame(Opcode::Text, b"last", 0, usize::MAX);
        assert_eq!(sent, Sent::Accepted);
        exchange.set_interest(Interest::default());
        readers.push(std::thread::spawn(move || {
            let mut bytes = vec![0; 10 + SIZE + 6];
            peer.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes[..2], [0x82, 127]);
            assert_eq!(bytes[2..10], (SIZE as u64).to_be_bytes());
            assert!(bytes[10..10 + SIZE] == content(0, SIZE));
            assert_eq!(&bytes[10 + SIZE..], b"\x81\x04last");
        }));
    }
    readers.into_iter().for_each(crate::support::join);
    wait_until("no peer keeps them", || Arc::strong_count(&shared) == 1);
}

#[test]
fn much_memory_that_is_freed_is_told_of() {
    let server = Running::start(config(Mode::Pull));
    let (peer, exchange) = asking(&server);
    assert!(exchange.watch_peer());
    let body = content(0, 2 * SIZE);
    assert_eq!(exchange.stream(&reply(), &body), Sent::Accepted);
    drop(peer);
    wait_until("it is told of", || {
        let notices = server.sink.notices.lock();
        notices.iter().any(|n| matches!(n, Notice::Freed))
    });
}

#[cfg(target_os = "linux")]
#[test]
fn the_kernel_takes_no_more_than_a_mebibyte_of_what_a_peer_does_not_read() {
    let server = Running::start(config(Mode::Pull));
    let (peer, exchange) = asking(&server);
    respond(&exchange, 0);
    let mut before = 0;
    wait_until("the kernel takes no more", || {
        std::thread::sleep(Duration::from_millis(50));
        let queued = queued_for(&peer);
        std::mem::replace(&mut before, queued) == queued && queued > 0
    });
    assert!(before < 1024 * 1024, "{before} bytes");
}
