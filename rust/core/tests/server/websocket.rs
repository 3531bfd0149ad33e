use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use httpkit_core::server::{CORK, Event, Exchange, Interest, Mode, Pings, Sent, Work};
use httpkit_core::ws::Opcode;

use crate::support::{Running, closings, config, frame, pings_after, read_head, wait_until};
use crate::tls_support::Secure;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket whose user is so far behind that it is not read any more.
fn paused(server: &Running, pings: Option<Pings>) -> (TcpStream, Exchange) {
    let (mut peer, exchange) = server.websocket(pings);
    // In one write, so that all have arrived once the queue has work, which is left undone.
    let messages = frame(TEXT, b"m").repeat(config(Mode::Pull).max_pending_messages);
    peer.write_all(&messages).unwrap();
    drop(server.server.take().unwrap());
    (peer, exchange)
}

#[test]
fn a_refused_message_does_not_take_the_closing_behind_it_along() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, _exchange) = server.websocket(None);
    server.server.shut_queue();
    let mut bytes = frame(TEXT, b"lost");
    bytes.extend_from_slice(&frame(CLOSE, &1000u16.to_be_bytes()));
    peer.write_all(&bytes).unwrap();
    let mut heard = Vec::new();
    wait_until("the closing", || {
        heard.extend(closings(std::mem::take(&mut *server.sink.work.lock())));
        !heard.is_empty()
    });
    assert_eq!(heard, [Event::Closed(1000, String::new())]);
}

#[test]
fn a_peer_that_does_not_answer_our_close_is_given_up_though_its_user_is_behind() {
    let server = Running::start(config(Mode::Pull));
    let (_peer, exchange) = paused(&server, None);
    assert!(exchange.close(1000, ""));
    wait_until("the connection is over", || {
        server.server.connections() == 0
    });
}

#[test]
fn what_was_sent_before_our_close_reaches_a_peer_that_reads_slowly() {
    const SIZE: usize = 20_000_000;
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = server.websocket(None);
    let sent = exchange.send_frame(Opcode::Binary, &vec![b'x'; SIZE], 0, 1000);
    assert_eq!(sent, Sent::Accepted);
    assert!(exchange.close(1000, "done"));
    let mut all = Vec::new();
    // Longer than a peer that has got our close frame may take to answer it.
    for _ in 0..40 {
        let mut piece = vec![0; 64 * 1024];
        let read = peer.read(&mut piece).unwrap();
        all.extend_from_slice(&piece[..read]);
        std::thread::sleep(Duration::from_millis(100));
    }
    peer.read_to_end(&mut all).unwrap();
    assert!(all.len() > SIZE, "{} bytes", all.len());
    assert!(all.ends_with(b"\x88\x06\x03\xe8done"));
}

#[test]
fn corked_frames_leave_soon_though_the_user_is_behind() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = paused(&server, None);
    for text in [b"1", b"2", b"3"] {
        assert_eq!(
            exchange.send_frame(Opcode::Text, text, CORK, 1000),
            Sent::Accepted
        );
    }
    let mut frames = [0; 9];
    peer.read_exact(&mut frames).unwrap();
    assert_eq!(&frames, b"\x81\x011\x81\x012\x81\x013");
}

#[test]
fn what_was_sent_before_our_close_is_told_of_as_written_or_lost() {
    for (size, reads) in [(12 << 20, true), (12 << 20, false), (1, true)] {
        let server = Running::start(config(Mode::Pull));
        let (mut peer, exchange) = server.websocket(None);
        let message = vec![b'x'; size];
        exchange.send_frame(Opcode::Binary, &message, 0, 1000);
        let sent = exchange.when_drained();
        assert!(exchange.close(1000, ""));
        while !exchange.take_events().is_empty() {}
        if reads {
            peer.write_all(&frame(CLOSE, &1000u16.to_be_bytes()))
                .unwrap();
            let mut all = Vec::new();
            peer.read_to_end(&mut all).unwrap();
        }
        // With unread input that is a reset.
        drop(peer);
        if sent == Sent::Full {
            wait_until("it is told", || !server.sink.drained.lock().is_empty());
            let told = [(exchange.name(), reads)];
            assert_eq!(*server.sink.drained.lock(), told, "once");
        }
        wait_until("the connection is over", || {
            server.server.connections() == 0
        });
        let after = if reads { Sent::Accepted } else { Sent::Closed };
        assert_eq!(
            (sent == Sent::Full, exchange.when_drained()),
            (size > 1, after)
        );
    }
}

#[test]
fn what_a_callback_holds_back_takes_no_room() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = server.websocket(None);
    let text = vec![b'x'; 100];
    for n in 0..40 {
        let sent = exchange.send_frame(Opcode::Text, &text, CORK, 250);
        assert_eq!(sent, Sent::Accepted, "frame {n}");
    }
    exchange.uncork();
    assert!(!exchange.await_room(1));
    let mut frames = vec![0; 40 * 102];
    peer.read_exact(&mut frames).unwrap();
    assert!(frames.ends_with(&text));
}

#[test]
fn a_peer_that_is_not_read_is_not_taken_for_dead() {
    let server = Running::start(config(Mode::Pull));
    let time = Duration::from_millis(20);
    let (_peer, exchange) = paused(&server, Some(pings_after(time)));
    std::thread::sleep(time * 20); // Ten times as long as a silent peer is kept.
    assert!(exchange.is_open());
    // Once it is read again, its silence counts.
    while !exchange.take_events().is_empty() {}
    wait_until("the silent peer is given up", || !exchange.is_open());
}

/// A WebSocket of a server that pushes, whose peer has been pinged and has `timeout` to answer.
fn pinged(server: &Running, peer: &mut (impl Read + Write), timeout: Duration) -> Exchange {
    let interval = Duration::from_millis(20);
    let exchange = upgraded(server, peer, Some(Pings { interval, timeout }));
    let mut ping = [0; 2];
    peer.read_exact(&mut ping).unwrap();
    assert_eq!(ping, [0x80 | PING, 0]);
    exchange
}

/// Makes the peer a WebSocket's, when work is pushed.
fn upgraded(server: &Running, peer: &mut (impl Read + Write), pings: Option<Pings>) -> Exchange {
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let exchange = server.pushed_request();
    assert!(exchange.upgrade(b"", Interest::default(), pings));
    read_head(peer);
    exchange
}

fn answer_ping(peer: &mut impl Write) {
    let mut bytes = frame(PONG, b"");
    bytes.extend_from_slice(&frame(TEXT, b"hi"));
    peer.write_all(&bytes).unwrap();
}

/// The next `count` events that are pushed.
fn pushed_events(server: &Running, count: usize) -> Vec<Event> {
    let mut heard = Vec::new();
    wait_until("the events", || {
        for work in std::mem::take(&mut *server.sink.work.lock()) {
            if let Work::Events(exchange) = work {
                heard.extend(
                    std::iter::repeat_with(|| exchange.take_events())
                        .take_while(|events| !events.is_empty())
                        .flatten(),
                );
            }
        }
        heard.len() >= count
    });
    heard
}

#[test]
fn a_pong_that_a_loop_which_was_held_up_has_not_read_counts() {
    let timeout = Duration::from_secs(2);
    let server = Secure::start(config(Mode::Push));
    let (mut plain, mut sealed) = (server.running.connect(), server.connect());
    let _sealed = pinged(&server.running, &mut sealed, timeout);
    let _plain = pinged(&server.running, &mut plain, timeout);
    server.running.hold_up(timeout * 6 / 5, || {
        answer_ping(&mut sealed);
        answer_ping(&mut plain);
    });
    let hi = || Event::Text(b"hi".into());
    assert_eq!(pushed_events(&server.running, 2), [hi(), hi()]);
}

#[test]
fn a_pong_that_comes_just_after_the_loop_was_held_up_for_long_counts() {
    let timeout = Duration::from_secs(2);
    let server = Running::start(config(Mode::Push));
    let mut peer = server.connect();
    let exchange = pinged(&server, &mut peer, timeout);
    server.hold_up(timeout * 7 / 4, || {});
    wait_until("the loop has gone on", || {
        !server.sink.work.lock().is_empty()
    });
    answer_ping(&mut peer);
    assert_eq!(pushed_events(&server, 1), [Event::Text(b"hi".into())]);
    wait_until("it is given up once it is silent", || !exchange.is_open());
}

#[test]
fn peers_of_connections_that_end_have_their_time_after_the_loop_was_held_up_for_long() {
    let server = Running::start(config(Mode::Push));
    let (mut closing, mut refused) = (server.connect(), server.connect());
    let exchange = upgraded(&server, &mut closing, None);
    assert!(exchange.close(1000, "done"));
    refused.write_all(b"no request\r\n\r\n").unwrap();
    read_head(&mut refused);
    // Longer than the time that either has to end its side.
    server.hold_up(Duration::from_millis(6500), || {
        closing.write_all(&frame(TEXT, b"late")).unwrap();
    });
    // Its turn is over before that of what it reads now.
    let mut other = server.connect();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait_until("the loop has gone on", || {
        let work = server.sink.work.lock();
        let requests = work.iter().filter(|work| matches!(work, Work::Request(_)));
        requests.count() == 2
    });
    assert_eq!(server.server.connections(), 4);
    closing.write_all(&goodbye()).unwrap();
    refused.shutdown(Shutdown::Write).unwrap();
    let mut all = Vec::new();
    closing.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"\x88\x06\x03\xe8done");
    wait_until("both are over", || server.server.connections() == 2);
}

#[test]
fn a_peer_that_sends_and_reads_no_pong_is_given_up_though_we_leave_its_bytes_unread() {
    let server = Running::start(config(Mode::Pull));
    let time = Duration::from_millis(20);
    let (mut peer, exchange) = server.websocket(Some(pings_after(time)));
    peer.set_nonblocking(true).unwrap();
    let many = frame(PING, &[b'x'; 125]).repeat(100);
    let mut at = 0;
    wait_until("it is given up", || {
        while let Ok(written) = peer.write(&many[at..]) {
            at = (at + written) % many.len();
        }
        !exchange.is_open()
    });
    assert_eq!(
        closings(vec![Work::Events(taken(&server))]),
        [Event::Closed(1006, "no response to a ping".into())]
    );
}

fn closed() -> Event {
    Event::Closed(1000, "bye".into())
}

fn closing() -> Event {
    Event::Closing(1000, "bye".into())
}

/// A close frame with 1000 and "bye".
fn goodbye() -> Vec<u8> {
    frame(CLOSE, b"\x03\xe8bye")
}

fn taken(server: &Running) -> Exchange {
    match server.server.take() {
        Some(Work::Events(exchange)) => exchange,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closing_is_told_at_once_while_callbacks_run_and_comes_behind_them_too() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, exchange) = server.websocket(None);
    peer.write_all(&frame(TEXT, b"m")).unwrap();
    let chain = taken(&server);
    assert_eq!(chain.take_events(), [Event::Text(b"m".into())]);
    // Its callback runs.
    peer.write_all(&frame(TEXT, b"n")).unwrap();
    peer.write_all(&goodbye()).unwrap();
    wait_until("it is told", || !server.sink.closings.lock().is_empty());
    let told = [(exchange.name(), 1000, "bye".to_owned())];
    assert_eq!(*server.sink.closings.lock(), told);
    assert_eq!(chain.take_events(), [Event::Text(b"n".into())]);
    assert_eq!(chain.take_events(), [closed()]);
    assert!(chain.take_events().is_empty());
    assert_eq!(*server.sink.closings.lock(), told, "once");
}

#[test]
fn a_closing_that_came_before_the_callbacks_began_is_told_with_the_first_events() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, _) = server.websocket(None);
    let mut bytes = frame(TEXT, b"m").repeat(100);
    bytes.extend_from_slice(&goodbye());
    peer.write_all(&bytes).unwrap();
    let chain = taken(&server);
    wait_until("all is read", || server.server.connections() == 0);
    let mut events = chain.take_events();
    assert_eq!(events[..2], [closing(), Event::Text(b"m".into())]);
    while !matches!(events[..], [Event::Closed(..)]) {
        events = chain.take_events();
        assert!(!events.contains(&closing()), "once");
    }
    assert_eq!(events, [closed()], "alone");
    assert!(server.sink.closings.lock().is_empty());
}

#[test]
fn a_closing_that_no_callback_holds_up_comes_alone() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, _) = server.websocket(None);
    peer.write_all(&goodbye()).unwrap();
    assert_eq!(taken(&server).take_events(), [closed()]);
    assert!(server.sink.closings.lock().is_empty());
}
