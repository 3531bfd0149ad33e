//! The last response of a connection: it says so, and what a peer sends behind it does not cut it off.

use std::io::{Read, Write};
use std::net::TcpStream;

use httpkit_core::server::{
    CLOSE, Config, Encoded, Exchange, GIVEN_CONNECTION, Interest, Mode, Responded, ResponseHead,
    Sent,
};
use socket2::{Domain, Socket, Type};

use crate::support::{PATIENCE, Running, config, read_head, reply};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// More than the kernel keeps for a peer with a small buffer, and less than it takes from a server.
const SIZE: usize = 100_000;

fn with_small_buffer(server: &Running) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&server.address().into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

fn respond(exchange: &Exchange, flags: u32) {
    let reply = ResponseHead { flags, ..reply() };
    let answered = exchange.respond(&reply, &[b'x'; SIZE], SIZE as u64);
    assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
}

fn respond_encoded(exchange: &Exchange, fields: &str) {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\n");
    let bytes = [head.as_bytes(), &[b'x'; SIZE]].concat();
    let sent = exchange.respond_encoded(&bytes, 0, Interest::default());
    assert_eq!(sent, Encoded::Done);
}

/// A peer that sends on while it reads a response slowly gets all of it.
fn assert_arrives(request: &[u8], respond: impl Fn(&Exchange)) {
    let server = Running::start(config(Mode::Pull));
    let mut peer = with_small_buffer(&server);
    peer.write_all(request).unwrap();
    respond(&server.request());
    assert_all_is_read(&mut peer);
}

fn assert_all_is_read(peer: &mut TcpStream) {
    let mut got = 0;
    loop {
        peer.write_all(GET).unwrap();
        match peer.read(&mut [0; 1000]).unwrap() {
            0 => break,
            read => got += read,
        }
    }
    assert!(got > SIZE, "{got} bytes");
}

#[test]
fn what_comes_behind_a_request_does_not_cut_off_the_response_with_which_a_handler_closes() {
    assert_arrives(GET, |exchange| respond(exchange, CLOSE));
}

#[test]
fn nor_one_that_ends_with_its_connection() {
    let http10 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    assert_arrives(http10, |exchange| {
        assert_eq!(exchange.stream(&reply(), &[b'x'; SIZE][..]), Sent::Accepted);
        assert_eq!(exchange.end_stream(), Sent::Accepted);
    });
}

#[test]
fn nor_the_one_before_a_request_that_gets_none() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = with_small_buffer(&server);
    let http10 = b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n";
    peer.write_all(&http10.repeat(2)).unwrap();
    respond(&server.request(), 0);
    assert_eq!(server.request().end_stream(), Sent::Accepted);
    assert_all_is_read(&mut peer);
}

#[test]
fn nor_an_ordinary_one_to_a_websocket_request() {
    let handshake = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n";
    assert_arrives(handshake, |exchange| respond(exchange, 0));
}

#[test]
fn nor_an_encoded_one_that_says_close() {
    let fields = format!("Connection: close\r\nContent-Length: {SIZE}\r\n");
    assert_arrives(GET, |exchange| respond_encoded(exchange, &fields));
}

#[test]
fn nor_an_encoded_one_of_which_the_peer_cannot_tell_the_end() {
    assert_arrives(GET, |exchange| respond_encoded(exchange, ""));
}

const KEEP_ALIVE: &str = "HTTP/1.1 200 OK\r\nA: b\r\nconnection: keep-alive\r\nC: d\r\n";

/// Responds in each way with a header that says that the connection is kept.
fn keep_alive_in_each_way() -> [fn(&Exchange); 3] {
    const GIVEN: ResponseHead<'_> = ResponseHead {
        status: 200,
        headers: KEEP_ALIVE.split_at(17).1.as_bytes(),
        flags: GIVEN_CONNECTION,
        declared: -1,
    };
    [
        |exchange| {
            let answered = exchange.respond(&GIVEN, b"last", 4);
            assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
        },
        |exchange| {
            assert_eq!(exchange.stream(&GIVEN, b"last"), Sent::Accepted);
            assert_eq!(exchange.end_stream(), Sent::Accepted);
        },
        |exchange| {
            let bytes = format!("{KEEP_ALIVE}Content-Length: 4\r\n\r\nlast");
            let sent = exchange.respond_encoded(bytes.as_bytes(), 0, Interest::default());
            assert_eq!(sent, Encoded::Done);
        },
    ]
}

fn connection_lines(head: &str) -> Vec<&str> {
    let of_connection = |line: &&str| line.to_ascii_lowercase().starts_with("connection:");
    head.lines().filter(of_connection).collect()
}

/// Of the head of a last response, which all fields but the untrue one have stayed in.
fn assert_says_close(head: &str) {
    assert_eq!(connection_lines(head), ["Connection: Close"], "{head}");
    assert!(head.contains("\r\nA: b\r\nC: d\r\n"), "{head}");
}

#[test]
fn a_connection_that_has_had_all_its_requests_ends_whatever_its_handlers_say() {
    for respond in keep_alive_in_each_way() {
        let server = Running::start(Config {
            max_requests: Some(2),
            ..config(Mode::Pull)
        });
        let mut peer = server.connect();
        peer.write_all(&GET.repeat(3)).unwrap();
        respond(&server.request());
        let head = read_head(&mut peer);
        assert!(head.contains("connection: keep-alive\r\n"), "{head}");
        respond(&server.request());
        let mut rest = String::new();
        peer.read_to_string(&mut rest).unwrap();
        let (_, last) = rest.split_once("HTTP/1.1 200 OK").unwrap();
        assert_says_close(last);
        assert_eq!(rest.matches("last").count(), 2, "{rest}");
    }
}

#[test]
fn a_body_that_is_left_unread_ends_the_connection_whatever_the_handler_says() {
    for respond in keep_alive_in_each_way() {
        let server = Running::start(Config {
            request_buffer: Some(1000),
            ..config(Mode::Pull)
        });
        let mut peer = server.connect();
        peer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nabc")
            .unwrap();
        respond(&server.request());
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_says_close(&all);
        assert!(all.contains("last"), "{all}");
    }
}

#[test]
fn a_stream_that_ends_with_its_connection_says_so_whatever_the_handler_says() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    keep_alive_in_each_way()[1](&server.request());
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_says_close(&all);
    assert!(all.ends_with("\r\n\r\nlast"), "{all}");
}

#[test]
fn fields_of_a_last_response_that_are_for_its_peer_only_stay_listed() {
    for (given, left) in [
        ("Connection: Upgrade\r\n", &["Connection: Upgrade"][..]),
        ("Connection: , Keep-Alive ,keep-alive\r\n", &[]),
        ("Connection:\r\n", &[]),
        (
            "Connection: A, Keep-Alive , b\r\nconnection: keep-alive\r\nCONNECTION:keep-alives,\r\n",
            &["Connection: A, b", "Connection: keep-alives"],
        ),
    ] {
        let server = Running::start(Config {
            max_requests: Some(1),
            ..config(Mode::Pull)
        });
        let mut peer = server.connect();
        peer.write_all(GET).unwrap();
        let reply = ResponseHead {
            headers: given.as_bytes(),
            flags: GIVEN_CONNECTION,
            ..reply()
        };
        let answered = server.request().respond(&reply, b"last", 4);
        assert!(matches!(answered, Responded::Done(None)), "{answered:?}");
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert_eq!(
            connection_lines(&all),
            [left, &["Connection: Close"]].concat()
        );
    }
}
