//! Time limits on what peers send.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use httpkit_core::server::{
    Config, Event, Mode, Notice, Pings, Responded, Sent, Timeout, Times, Work,
};
use httpkit_core::ws::Opcode;

use crate::support::{
    Running, answer, closings, config, frame, read_head, read_response, reply, wait_until,
};

const LIMIT: Duration = Duration::from_millis(300);
/// Longer than any connection is kept beyond its limit on an idle machine.
const BEYOND: Duration = Duration::from_millis(1500);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n";

fn limited(times: Times) -> Running {
    Running::start(Config {
        times,
        ..config(Mode::Pull)
    })
}

fn only_header() -> Times {
    Times {
        header: Some(LIMIT),
        ..Times::NONE
    }
}

fn only_idle() -> Times {
    Times {
        idle: Some(LIMIT),
        ..Times::NONE
    }
}

fn only_body() -> Times {
    Times {
        body: Some(LIMIT),
        ..Times::NONE
    }
}

/// All that a peer still receives, until its connection ends.
fn rest(peer: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    match peer.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
        Err(e) => panic!("it is kept: {e}"),
    }
    String::from_utf8(rest).unwrap()
}

fn assert_is_408(response: &str) {
    assert!(
        response.starts_with("HTTP/1.1 408 Request Timeout\r\n"),
        "{response}"
    );
    assert!(response.contains("content-length: 0\r\n"), "{response}");
    assert!(response.contains("Connection: Close\r\n"), "{response}");
    assert!(response.ends_with("\r\n\r\n"), "{response}");
}

/// Sends one byte at a time until a head has taken too long.
fn trickle(server: &Running, peer: &mut TcpStream, bytes: &[u8]) {
    peer.set_nodelay(true).unwrap();
    let began = Instant::now();
    let mut bytes = bytes.iter().cycle();
    wait_until("the connection ends", || {
        let _ = peer.write_all(&[*bytes.next().unwrap()]);
        server.server.timeouts(Timeout::Header) == 1
    });
    assert!(began.elapsed() > LIMIT, "early");
}

fn notices(server: &Running) -> Vec<Timeout> {
    let notices = server.sink.notices.lock();
    notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Timeout(timeout) => Some(*timeout),
            _ => None,
        })
        .collect()
}

fn assert_counted(server: &Running, timeout: Timeout) {
    for other in Timeout::ALL {
        let expected = u64::from(other == timeout);
        assert_eq!(server.server.timeouts(other), expected, "{other:?}");
    }
    wait_until("it is told of", || notices(server) == [timeout]);
}

/// One request and its response.
fn exchange(server: &Running, peer: &mut TcpStream) {
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"hello");
    assert_eq!(read_response(peer), b"hello");
}

#[test]
fn a_peer_that_sends_nothing_is_closed_silently_after_the_header_limit() {
    let server = limited(only_header());
    let began = Instant::now();
    let mut peer = server.connect();
    assert_eq!(rest(&mut peer), "");
    assert!(began.elapsed() > LIMIT, "early");
    assert_counted(&server, Timeout::Header);
}

#[test]
fn a_head_that_does_not_end_gets_408() {
    for begun in [
        &b"G"[..],
        b"GET / HTTP/1.1\r\nHost: h\r\n",
        &GET[..GET.len() - 1],
    ] {
        let server = limited(only_header());
        let began = Instant::now();
        let mut peer = server.connect();
        peer.write_all(begun).unwrap();
        assert_is_408(&rest(&mut peer));
        assert!(began.elapsed() > LIMIT, "early");
        assert_counted(&server, Timeout::Header);
    }
}

#[test]
fn a_trickle_does_not_prolong_the_time_for_a_head() {
    let server = limited(only_header());
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\n").unwrap();
    trickle(&server, &mut peer, b"a: b\r\n");
    assert_counted(&server, Timeout::Header);
}

#[test]
fn the_time_for_a_later_head_begins_with_its_first_byte() {
    let server = limited(only_header());
    let mut peer = server.connect();
    exchange(&server, &mut peer);
    std::thread::sleep(BEYOND); // Idle for longer than a head may take.
    exchange(&server, &mut peer);
    let began = Instant::now();
    peer.write_all(b"GET").unwrap();
    assert_is_408(&rest(&mut peer));
    assert!(began.elapsed() > LIMIT, "early");
}

#[test]
fn a_connection_that_is_idle_for_long_is_closed_silently() {
    let server = limited(only_idle());
    let mut peer = server.connect();
    exchange(&server, &mut peer);
    let began = Instant::now();
    exchange(&server, &mut peer);
    assert_eq!(rest(&mut peer), "");
    assert!(began.elapsed() > LIMIT, "early");
    assert_counted(&server, Timeout::Idle);
}

#[test]
fn an_empty_line_after_a_body_begins_no_request() {
    let server = limited(Times {
        header: Some(LIMIT),
        idle: Some(LIMIT),
        ..Times::NONE
    });
    let mut peer = server.connect();
    exchange(&server, &mut peer);
    peer.write_all(b"\r\n").unwrap();
    assert_eq!(rest(&mut peer), "");
    assert_counted(&server, Timeout::Idle);
}

#[test]
fn the_time_that_handlers_streams_and_websockets_take_is_not_idle() {
    let server = limited(Times {
        header: Some(LIMIT),
        idle: Some(LIMIT),
        body: Some(LIMIT),
        write: Some(LIMIT),
        ..Times::NONE
    });
    let mut slow = server.connect();
    slow.write_all(GET).unwrap();
    let handled = server.request();
    let mut streamed = server.connect();
    streamed.write_all(GET).unwrap();
    let stream = server.request();
    assert_eq!(stream.stream(&reply(), b"begun"), Sent::Accepted);
    let (_silent, websocket) = server.websocket(None);
    std::thread::sleep(BEYOND);
    answer(&handled, b"at last");
    assert_eq!(read_response(&mut slow), b"at last");
    assert!(stream.is_open());
    assert_eq!(stream.end_stream(), Sent::Accepted);
    assert!(read_head(&mut streamed).starts_with("HTTP/1.1 200"));
    assert!(websocket.is_open());
}

#[test]
fn a_body_that_does_not_arrive_gets_408() {
    let chunked = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
    for begun in [POST, &[POST, &[b'x'; 5000]].concat(), chunked] {
        let server = limited(only_body());
        let began = Instant::now();
        let mut peer = server.connect();
        peer.write_all(begun).unwrap();
        assert_is_408(&rest(&mut peer));
        assert!(began.elapsed() > LIMIT, "early");
        assert_counted(&server, Timeout::Body);
    }
}

#[test]
fn a_trickle_does_not_prolong_the_time_for_a_body() {
    let head = &b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"[..];
    for (head, body) in [(POST, &b"x"[..]), (head, b"1\r\nx\r\n")] {
        let server = limited(only_body());
        let mut peer = server.connect();
        peer.write_all(head).unwrap();
        peer.set_nodelay(true).unwrap();
        let mut bytes = body.iter().cycle();
        wait_until("it is too slow", || {
            let _ = peer.write_all(&[*bytes.next().unwrap()]);
            std::thread::sleep(Duration::from_millis(10));
            server.server.timeouts(Timeout::Body) == 1
        });
        assert_is_408(&read_head(&mut peer));
    }
}

#[test]
fn a_body_that_goes_on_may_take_as_long_as_it_takes() {
    let server = limited(Times {
        body: Some(Duration::from_secs(2)),
        ..Times::NONE
    });
    let mut peer = server.connect();
    peer.write_all(POST).unwrap();
    let began = Instant::now();
    for _ in 0..8 {
        peer.write_all(&[b'x'; 1024]).unwrap();
        std::thread::sleep(Duration::from_millis(500)); // Longer than the limit in all.
    }
    assert!(began.elapsed() > Duration::from_secs(3));
    peer.write_all(&[b'x'; 100_000 - 8 * 1024]).unwrap();
    answer(&server.request(), b"thanks");
    assert_eq!(read_response(&mut peer), b"thanks");
}

fn only_handler() -> Times {
    Times {
        handler: Some(LIMIT),
        ..Times::NONE
    }
}

#[test]
fn a_handler_that_takes_too_long_times_out_and_is_told() {
    let server = limited(only_handler());
    for held in [false, true] {
        let before = server.server.timeouts(Timeout::Handler);
        let began = Instant::now();
        let mut peer = server.connect();
        peer.write_all(GET).unwrap();
        let exchange = server.request();
        assert!(!held || exchange.watch_peer());
        let response = rest(&mut peer);
        assert!(
            response.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{response}"
        );
        assert!(response.contains("Connection: Close\r\n"), "{response}");
        assert!(began.elapsed() > LIMIT, "early");
        assert_eq!(server.server.timeouts(Timeout::Handler), before + 1);
        assert!(!exchange.is_open());
        let late = exchange.respond(&reply(), b"late", 4);
        assert!(matches!(late, Responded::Stale), "{late:?}");
        assert_eq!(
            closings(server.server.take().into_iter().collect()),
            [Event::Closed(0, String::new())]
        );
    }
}

#[test]
fn a_request_that_waits_for_a_thread_for_too_long_gets_503_and_is_not_run() {
    let server = limited(only_handler());
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    assert!(rest(&mut peer).starts_with("HTTP/1.1 503"));
    let Some(Work::Request(request)) = server.server.take() else {
        panic!("no request");
    };
    // As the embedder finds out before it runs the handler.
    assert!(!request.exchange.bind(7));
}

#[test]
fn a_response_that_has_begun_may_take_as_long_as_it_takes() {
    let server = limited(only_handler());
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"begun"), Sent::Accepted);
    std::thread::sleep(BEYOND);
    assert_eq!(exchange.end_stream(), Sent::Accepted);
    assert!(read_head(&mut peer).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_silent_websocket_is_closed_with_1001() {
    let server = limited(Times {
        ws_idle: Some(LIMIT),
        ..Times::NONE
    });
    let began = Instant::now();
    let (mut peer, exchange) = server.websocket(None);
    let mut head = [0; 4];
    peer.read_exact(&mut head).unwrap();
    assert_eq!((head[0], &head[2..]), (0x88, &1001_u16.to_be_bytes()[..]));
    assert!(began.elapsed() > LIMIT, "early");
    assert_counted(&server, Timeout::Ws);
    assert!(!exchange.close(1000, ""), "it is closing");
    assert_eq!(
        closings(server.server.take().into_iter().collect()),
        [Event::Closed(0, String::new())]
    );
}

#[test]
fn a_websocket_on_which_one_side_sends_is_kept() {
    let limit = Duration::from_secs(2);
    let server = limited(Times {
        ws_idle: Some(limit),
        ..Times::NONE
    });
    let (mut talking, listening) = server.websocket(None);
    let (_listener, speaking) = server.websocket(None);
    let pings = Pings {
        interval: limit / 4,
        timeout: limit,
    };
    let (mut answering, pinging) = server.websocket(Some(pings));
    answering.set_read_timeout(Some(limit / 4)).unwrap();
    let began = Instant::now();
    while began.elapsed() < limit * 2 {
        talking.write_all(&frame(0x9, b"")).unwrap();
        speaking.send_frame(Opcode::Text, b"hello", 0, usize::MAX);
        if answering.read(&mut [0; 2]).is_ok_and(|n| n == 2) {
            answering.write_all(&frame(0xa, b"")).unwrap();
        }
    }
    for exchange in [listening, speaking, pinging] {
        assert!(exchange.is_open());
    }
}

#[test]
fn a_thousand_slow_peers_are_gone_soon_and_keep_no_other_waiting() {
    const PEERS: usize = 1000;
    let header = Duration::from_secs(2);
    let server = Running::start(Config {
        times: Times {
            header: Some(header),
            ..Times::NONE
        },
        backlog: 1024,
        ..config(Mode::Pull)
    });
    let mut peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut peer = server.connect();
            peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nX-").unwrap();
            peer
        })
        .collect();
    let connected = Instant::now();
    let mut quick = server.connect();
    exchange(&server, &mut quick);
    assert!(connected.elapsed() < header, "it waited for the slow ones");
    wait_until("the slow ones are gone", || {
        server.server.connections() == 1
    });
    // One second is the promise, the rest is for a busy machine.
    assert!(connected.elapsed() < header + Duration::from_secs(1 + 5));
    assert_eq!(server.server.timeouts(Timeout::Header), PEERS as u64);
    peers.iter_mut().for_each(|peer| assert_is_408(&rest(peer)));
    exchange(&server, &mut quick);
}
