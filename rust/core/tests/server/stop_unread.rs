//! Drains and stops wait for peers that have not read everything, and count those that they cut.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use httpkit_core::net::platform::BorrowedSocket;
use httpkit_core::server::{Config, Ended, Exchange, Interest, Mode, Sent, Until};
use httpkit_core::ws::Opcode;

use crate::support::{PATIENCE, Running, answer, config, frame, read_head, reply, wait_until};
use crate::tls_support::{Secure, VERSIONS};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// More than the sockets' buffers hold on both sides.
const LONG: usize = 24 << 20;
const GOING_AWAY: &[u8] = &[0x88, 2, 0x03, 0xe9];

fn start() -> Running {
    Running::start(Config {
        access_log: true,
        ..config(Mode::Pull)
    })
}

fn send_long(exchange: &Exchange) {
    let sent = exchange.send_frame(Opcode::Binary, &vec![b'x'; LONG], 0, usize::MAX);
    assert_eq!(sent, Sent::Accepted);
}

/// A WebSocket whose peer has a long message to read.
fn websocket(server: &Running) -> (TcpStream, Exchange) {
    let (peer, exchange) = server.websocket(None);
    send_long(&exchange);
    (peer, exchange)
}

fn unfinished(server: &Running, until: Until) -> usize {
    server.server.unfinished(Duration::ZERO, until)
}

/// Nothing but one connection is waited for, by a drain and by a stop.
#[track_caller]
fn assert_one_is_waited_for(server: &Running) {
    wait_until("nothing is accepted any more", || {
        unfinished(server, Until::Drained) <= 1
    });
    for _ in 0..2 {
        assert_eq!(unfinished(server, Until::Drained), 1, "a drain waits");
        assert_eq!(unfinished(server, Until::Stopped), 1, "a stop waits");
        assert_eq!(server.server.unsent(Duration::ZERO), 1);
    }
}

fn rest(peer: &mut impl Read) -> Vec<u8> {
    let mut all = Vec::new();
    peer.read_to_end(&mut all).unwrap();
    all
}

/// Ends the server as soon as a stop does not wait any more.
fn stop_in_peace(server: &mut Running) {
    wait_until("nothing is waited for", || {
        unfinished(server, Until::Stopped) == 0
    });
    assert_eq!(server.server.close(), 0, "nothing was cut");
    server.stop();
}

/// Reads everything while the server stops.
fn read_while_it_stops(server: &mut Running, peer: &mut (impl Read + Send)) -> Vec<u8> {
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| rest(peer));
        stop_in_peace(server);
        reader.join().unwrap()
    })
}

/// How the only exchange has ended.
fn ended(server: &Running) -> u8 {
    let (records, count) = server.server.take_access().unwrap();
    assert_eq!(count, 1);
    records[8]
}

#[test]
fn a_websocket_that_goes_away_is_waited_for_until_its_close_frame_is_written() {
    let mut server = start();
    let (mut peer, _exchange) = websocket(&server);
    server.server.drain();
    assert_eq!(server.server.go_away(), 1);
    assert_one_is_waited_for(&server);
    let all = read_while_it_stops(&mut server, &mut peer);
    assert_eq!(all.len(), 10 + LONG + GOING_AWAY.len());
    assert!(all.ends_with(GOING_AWAY));
    assert_eq!(ended(&server), Ended::Done as u8);
}

#[test]
fn a_websocket_over_tls_that_goes_away_is_waited_for() {
    for version in VERSIONS {
        let mut server = Secure::start(config(Mode::Pull));
        let mut peer = server.connect_with(server.client(&[version]).into());
        peer.write_all(GET).unwrap();
        let exchange = server.running.request();
        assert!(exchange.upgrade(b"", Interest::default(), None));
        read_head(&mut peer);
        send_long(&exchange);
        server.running.server.drain();
        assert_eq!(server.running.server.go_away(), 1);
        assert_one_is_waited_for(&server.running);
        // A missing close_notify would be an error.
        let all = read_while_it_stops(&mut server.running, &mut peer);
        assert_eq!(all.len(), 10 + LONG + GOING_AWAY.len());
        assert!(all.ends_with(GOING_AWAY));
    }
}

#[test]
fn a_websocket_that_either_side_has_closed_is_waited_for() {
    let ways: [fn(&mut TcpStream, &Exchange); 2] = [
        |_, exchange| assert!(exchange.close(1000, "")),
        |peer, exchange| {
            peer.write_all(&frame(8, &1000u16.to_be_bytes())).unwrap();
            wait_until("it is closed", || !exchange.is_open());
        },
    ];
    for close in ways {
        let mut server = start();
        let (mut peer, exchange) = websocket(&server);
        close(&mut peer, &exchange);
        server.server.drain();
        assert_eq!(server.server.go_away(), 0);
        assert_one_is_waited_for(&server);
        let all = read_while_it_stops(&mut server, &mut peer);
        assert!(all.ends_with(&[0x88, 2, 0x03, 0xe8]));
        assert_eq!(ended(&server), Ended::Done as u8);
    }
}

#[test]
fn a_channel_whose_peer_has_ended_its_side_is_waited_for() {
    let mut server = start();
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert!(exchange.watch_peer());
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    let sent = exchange.send_chunk(&vec![b'x'; LONG], 0, usize::MAX);
    assert_eq!(sent, Sent::Accepted);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_until("it is closed", || !exchange.is_open());
    server.server.drain();
    assert_one_is_waited_for(&server);
    assert!(read_while_it_stops(&mut server, &mut peer).len() > LONG);
}

#[test]
fn a_websocket_that_opens_during_a_stop_is_waited_for() {
    let mut server = start();
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    server.server.drain();
    assert_eq!(server.server.go_away(), 0);
    assert!(exchange.upgrade(b"", Interest::default(), None));
    assert!(
        unfinished(&server, Until::Stopped) > 0,
        "it has yet to be told"
    );
    send_long(&exchange);
    assert_eq!(server.server.go_away(), 1);
    assert_one_is_waited_for(&server);
    assert!(read_while_it_stops(&mut server, &mut peer).ends_with(GOING_AWAY));
}

#[test]
fn a_websocket_whose_peer_does_not_read_is_cut_and_counted() {
    let ways: [fn(&Running, &Exchange); 3] = [
        |server, _| assert_eq!(server.server.go_away(), 1),
        |_, exchange| assert!(exchange.close(1000, "")),
        |_, _| {},
    ];
    for close in ways {
        let server = start();
        let (mut peer, exchange) = websocket(&server);
        close(&server, &exchange);
        assert_eq!(server.server.close(), 1);
        assert_eq!(server.server.close(), 0, "once");
        wait_until("it is over", || server.server.connections() == 0);
        assert!(rest(&mut peer).len() < LONG);
        assert_eq!(ended(&server), Ended::Aborted as u8);
    }
}

/// A server whose kernel holds what `unsent` says of what it was given.
fn start_with(unsent: fn(BorrowedSocket<'_>) -> u64) -> Running {
    Running::start(Config {
        access_log: true,
        unsent,
        ..config(Mode::Pull)
    })
}

/// The server has written all, and its peer goes on to send.
fn send_on(peer: &mut TcpStream, bytes: &[u8]) -> Vec<u8> {
    let all = rest(peer);
    for _ in 0..3 {
        peer.write_all(bytes).unwrap();
    }
    all
}

#[test]
fn a_websocket_that_sends_is_waited_for_until_its_peer_has_what_the_kernel_holds() {
    static HELD: AtomicU64 = AtomicU64::new(1 << 20);
    let mut server = start_with(|_| HELD.load(Ordering::Relaxed));
    let (mut peer, _exchange) = server.websocket(None);
    server.server.drain();
    assert_eq!(server.server.go_away(), 1);
    assert_eq!(send_on(&mut peer, &frame(1, b"hi")), GOING_AWAY);
    assert_one_is_waited_for(&server);
    HELD.store(0, Ordering::Relaxed);
    stop_in_peace(&mut server);
    assert_eq!(ended(&server), Ended::Done as u8);
}

#[test]
fn a_peer_that_sends_behind_its_last_response_is_waited_for() {
    static HELD: AtomicU64 = AtomicU64::new(1 << 20);
    let mut server = start_with(|_| HELD.load(Ordering::Relaxed));
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    server.server.drain();
    answer(&exchange, b"last");
    assert!(send_on(&mut peer, GET).ends_with(b"last"));
    assert_one_is_waited_for(&server);
    HELD.store(0, Ordering::Relaxed);
    stop_in_peace(&mut server);
}

#[test]
fn the_last_bytes_in_flight_are_waited_for_while_their_peer_sends() {
    const GRACE: Duration = Duration::from_millis(1);
    static HELD: AtomicU64 = AtomicU64::new(0);
    let ways: [fn(&Running) -> TcpStream; 2] = [
        |server| {
            let mut peer = server.connect();
            peer.write_all(GET).unwrap();
            let exchange = server.request();
            server.server.drain();
            answer(&exchange, b"last");
            peer
        },
        |server| {
            let (peer, _exchange) = server.websocket(None);
            server.server.drain();
            assert_eq!(server.server.go_away(), 1);
            peer
        },
    ];
    for begin in ways {
        for until in [Until::Stopped, Until::Drained] {
            HELD.store(1000, Ordering::Relaxed);
            let mut server = start_with(|_| HELD.load(Ordering::Relaxed));
            let mut peer = begin(&server);
            let unfinished = |grace| server.server.unfinished(grace, until);
            wait_until("it has sent nothing", || unfinished(PATIENCE) == 0);
            for _ in 0..3 {
                peer.write_all(GET).unwrap();
                // The first look after it was heard finds no silence, and begins one.
                wait_until("it is heard, and waited for", || unfinished(GRACE) == 1);
                wait_until("it is silent again", || unfinished(GRACE) == 0);
                assert_eq!(server.server.unsent(PATIENCE), 1);
            }
            HELD.store(0, Ordering::Relaxed);
            assert_eq!(unfinished(PATIENCE), 0, "it has everything");
            stop_in_peace(&mut server);
        }
    }
}

#[test]
fn a_peer_that_has_yet_to_acknowledge_a_close_frame_is_neither_waited_for_nor_counted_as_cut() {
    let server = start_with(|_| GOING_AWAY.len() as u64);
    let (_peer, _exchange) = server.websocket(None);
    assert_eq!(server.server.go_away(), 1);
    assert_eq!(server.server.unsent(PATIENCE), 0);
    assert_eq!(server.server.close(), 0);
}

#[test]
fn a_websocket_whose_peer_leaves_bytes_in_the_kernel_is_cut_and_counted() {
    let server = start_with(|_| 1 << 20);
    let (mut peer, _exchange) = server.websocket(None);
    assert_eq!(server.server.go_away(), 1);
    assert_eq!(send_on(&mut peer, &frame(1, b"hi")), GOING_AWAY);
    assert_eq!(server.server.close(), 1);
    assert_eq!(server.server.close(), 0, "once");
    wait_until("it is over", || server.server.connections() == 0);
}
