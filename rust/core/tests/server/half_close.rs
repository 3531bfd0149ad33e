use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use httpkit_core::server::{
    Config, Event, Exchange, INLINE, Mode, Responded, ResponseHead, Sent, Work,
};

use crate::support::{Running, answer, closings, config, read_response, reply, wait_until};

#[test]
fn a_half_closed_connection_costs_no_processor_time_while_its_response_is_made() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    server.end(&peer);
    server.assert_idle(Duration::from_secs(1));
    answer(&exchange, b"late");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("late"), "{answer}");
}

#[test]
fn a_stream_that_is_not_held_continues_after_a_half_close() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    server.end(&peer);
    assert_eq!(exchange.send_chunk(b"second", 0, 1000), Sent::Accepted);
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("6\r\nsecond\r\n0\r\n\r\n"), "{answer}");
}

#[test]
fn a_stream_to_a_peer_that_is_gone_ends_although_it_had_half_closed_before() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    server.end(&peer);
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    drop(peer);
    wait_until("the stream is refused", || {
        exchange.send_chunk(b"more", 0, 1000) != Sent::Accepted
    });
}

#[test]
fn a_response_that_still_waits_is_read_to_its_end_after_a_half_close() {
    const SIZE: usize = 20_000_000;
    for fields in ["", "Connection: close\r\n"] {
        let server = Running::start(config(Mode::Pull));
        let mut peer = server.connect();
        write!(peer, "GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").unwrap();
        answer(&server.request(), &vec![b'x'; SIZE]);
        // The answer is complete for us, and most of it waits in our queue.
        server.end(&peer);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        assert!(bytes.len() > SIZE, "{} bytes, {fields:?}", bytes.len());
    }
}

/// Sends `bytes`, ends its side, and waits until a server that has handed out the first request of
/// them has seen both: until then nothing of what is behind is there to be lost.
fn peer_that_said_all(server: &Running, bytes: &[u8]) -> (TcpStream, Exchange) {
    let mut peer = server.connect();
    peer.write_all(bytes).unwrap();
    let exchange = server.request();
    server.end(&peer);
    (peer, exchange)
}

#[test]
fn requests_received_before_a_half_close_are_all_answered_in_order() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, first) =
        peer_that_said_all(&server, &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3));
    answer(&first, b"first");
    let second = server.request();
    assert_eq!(second.stream(&reply(), b"second"), Sent::Accepted);
    assert_eq!(second.end_stream(), Sent::Accepted);
    answer(&server.request(), b"third");
    assert_eq!(read_response(&mut peer), b"first");
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    assert!(
        rest.contains("6\r\nsecond\r\n0\r\n\r\nHTTP/1.1 200 OK"),
        "{rest}"
    );
    assert!(rest.ends_with("third"), "{rest}");
}

#[test]
fn responses_before_a_channel_that_a_half_close_ends_are_still_read() {
    let server = Running::start(config(Mode::Pull));
    let (mut peer, first) =
        peer_that_said_all(&server, &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    // Gathered with what follows, since the caller runs the next request at once.
    let flags = INLINE;
    let Responded::Done(Some(second)) =
        first.respond(&ResponseHead { flags, ..reply() }, b"first", 5)
    else {
        panic!("the second request was not handed on");
    };
    let second = second.exchange;
    assert!(second.bind(7));
    assert!(!second.watch_peer(), "the peer has left");
    assert_eq!(read_response(&mut peer), b"first");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    let heard = closings(vec![server.server.take().unwrap()]);
    assert_eq!(heard, [Event::Closed(-1, String::new())]);
}

#[test]
fn who_waits_for_room_on_a_channel_is_told_when_a_half_close_ends_it() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert!(exchange.watch_peer());
    assert_eq!(
        exchange.stream(&reply(), &vec![b'x'; 20_000_000]),
        Sent::Accepted
    );
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Full);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_until("the sender is told", || {
        !server.sink.drained.lock().is_empty()
    });
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Closed);
}

#[test]
fn half_a_request_before_a_half_close_ends_the_connection_behind_the_responses() {
    let server = Running::start(config(Mode::Pull));
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nPOST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nx";
    let (mut peer, first) = peer_that_said_all(&server, bytes);
    answer(&first, b"first");
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert!(all.ends_with("first"), "{all}");
    wait_until("the connection is gone", || {
        server.server.connections() == 0
    });
}

#[test]
fn requests_held_back_for_a_peer_that_does_not_read_are_answered_after_its_half_close() {
    const SIZE: usize = 20_000_000;
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2))
        .unwrap();
    answer(&server.request(), &vec![b'x'; SIZE]);
    server.end(&peer);
    assert_eq!(read_response(&mut peer).len(), SIZE);
    answer(&server.request(), b"second");
    assert_eq!(read_response(&mut peer), b"second");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_peer_reads_the_end_behind_its_last_response_while_it_may_still_send() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"no request\r\n\r\n").unwrap();
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert!(all.starts_with("HTTP/1.1 400 "), "{all}");
    // It is told, and not cut: what it sends now is read, so that it causes no reset.
    assert_eq!(server.server.connections(), 1);
    peer.write_all(b"more").unwrap();
    drop(peer);
    wait_until("the connection is gone", || {
        server.server.connections() == 0
    });
}

/// A server that soon closes half-closed connections.
fn impatient() -> Running {
    Running::start(Config {
        half_close_time: Duration::from_millis(100),
        ..config(Mode::Pull)
    })
}

#[test]
fn a_half_closed_peer_whose_response_takes_too_long_is_given_up() {
    let server = impatient();
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    drop(peer);
    wait_until("its socket is closed", || server.server.connections() == 0);
    assert!(!exchange.is_open());
    let late = exchange.respond(&reply(), b"late", 4);
    assert!(matches!(late, Responded::Stale), "{late:?}");
    let heard = closings(vec![server.server.take().unwrap()]);
    assert_eq!(heard, [Event::Closed(-1, String::new())]);
}

#[test]
fn a_half_closed_peer_gets_its_response_after_the_loop_was_held_up_for_long() {
    let time = Duration::from_secs(2);
    let server = Running::start(Config {
        half_close_time: time,
        ..config(Mode::Push)
    });
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.pushed_request();
    server.end(&peer);
    server.hold_up(time * 7 / 4, || {});
    // Its turn is over before that of what it reads now.
    let mut other = server.connect();
    other
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait_until("the loop has gone on", || server.sink.work.lock().len() > 1);
    answer(&exchange, b"late");
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("late"), "{answer}");
}

#[test]
fn a_half_closed_peer_of_a_silent_stream_is_given_up_as_well() {
    let server = impatient();
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_until("its socket is closed", || server.server.connections() == 0);
    assert_eq!(exchange.send_chunk(b"more", 0, 1000), Sent::Closed);
}

#[test]
fn a_request_that_no_thread_took_in_time_never_reaches_user_code() {
    let server = impatient();
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait_until("it is queued", || server.server.accepted() == 1);
    peer.shutdown(Shutdown::Write).unwrap();
    wait_until("its socket is closed", || server.server.connections() == 0);
    match server.server.take() {
        Some(Work::Request(request)) => assert!(!request.exchange.bind(7), "it is over"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_sent_begins_the_time_of_a_half_closed_peer_anew() {
    const TIME: Duration = Duration::from_secs(3);
    let server = Running::start(Config {
        half_close_time: TIME,
        ..config(Mode::Pull)
    });
    let (mut peer, first) =
        peer_that_said_all(&server, &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2));
    // Each of three waits is shorter than the time, and together they are longer.
    let pause = || std::thread::sleep(TIME / 2);
    pause();
    answer(&first, b"first");
    pause();
    let second = server.request();
    assert_eq!(second.stream(&reply(), b"second"), Sent::Accepted);
    pause();
    assert_eq!(second.send_chunk(b"third", 0, 1000), Sent::Accepted);
    assert_eq!(second.end_stream(), Sent::Accepted);
    assert_eq!(read_response(&mut peer), b"first");
    let mut rest = String::new();
    peer.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("third\r\n0\r\n\r\n"), "{rest}");
}

#[test]
fn of_too_many_half_closed_peers_the_oldest_are_given_up() {
    let server = Running::start(Config {
        max_half_closed: 2,
        ..config(Mode::Pull)
    });
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let (mut oldest, refused) = peer_that_said_all(&server, request);
    // One that has got its response no longer counts.
    let (mut served, exchange) = peer_that_said_all(&server, request);
    answer(&exchange, b"served");
    assert_eq!(read_response(&mut served), b"served");
    wait_until("it is gone", || server.server.connections() == 1);
    let (mut second, kept) = peer_that_said_all(&server, request);
    assert!(refused.is_open(), "there is room for two");
    let (mut third, kept_too) = peer_that_said_all(&server, request);
    assert_eq!(oldest.read(&mut [0]).unwrap(), 0);
    assert!(!refused.is_open());
    for (peer, exchange) in [(&mut second, kept), (&mut third, kept_too)] {
        answer(&exchange, b"kept");
        assert_eq!(read_response(peer), b"kept");
    }
}

#[test]
fn an_embedder_that_asks_for_it_hears_of_a_half_close_at_once_and_may_still_respond() {
    let server = Running::start(Config {
        tell_half_close: true,
        ..config(Mode::Pull)
    });
    let events = || match server.server.take() {
        Some(Work::Events(exchange)) => exchange.take_events(),
        other => panic!("{other:?}"),
    };
    let mut peer = server.connect();
    peer.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2))
        .unwrap();
    let first = server.request();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(events(), [Event::HalfClosed]);
    assert_eq!(first.take_events(), []);
    answer(&first, b"first");
    // The next request is no news to the peer's side, but it is to who responds to it.
    let second = server.request();
    assert_eq!(events(), [Event::HalfClosed]);
    assert_eq!(second.take_events(), []);
    answer(&second, b"second");
    assert_eq!(read_response(&mut peer), b"first");
    assert_eq!(read_response(&mut peer), b"second");
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}
