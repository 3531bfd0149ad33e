//! The last response of a connection: what a peer sends behind it does not cut it off.

use std::io::{Read, Write};
use std::net::TcpStream;

use httpkit_core::server::{
    CLOSE, Encoded, Exchange, Interest, Mode, Responded, ResponseHead, Sent,
};
use socket2::{Domain, Socket, Type};

use crate::support::{PATIENCE, Running, config, reply};

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
