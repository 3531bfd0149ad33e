//! Responses that come while the request is still being sent.

use crate::support::*;
use bytes::Bytes;
use httpkit_core::client::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

/// More than sockets hold.
const LARGE: usize = 20_000_000;

fn read_head(stream: &mut impl Read) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
}

/// Bytes up to `most`, or the end.
fn count(stream: &mut impl Read, most: usize) -> usize {
    let mut buffer = vec![0; 65536];
    let mut seen = 0;
    while seen < most {
        let length = buffer.len().min(most - seen);
        match stream.read(&mut buffer[..length]) {
            Ok(n) if n > 0 => seen += n,
            _ => break,
        }
    }
    seen
}

/// Sends `response` after the head of a request, then does `then`.
fn early(response: &'static str, then: impl Fn(&mut TcpStream) + Send + Sync + 'static) -> Server {
    Server::new(move |_, stream| {
        read_head(stream);
        stream.write_all(response.as_bytes()).unwrap();
        then(stream);
    })
}

/// As [`early`]; then reads `length` bytes of a body, of which it tells, and serves further requests.
fn reading_on(response: &'static str, length: usize) -> (Server, Receiver<usize>) {
    let (tell, told) = channel();
    let tell = Mutex::new(tell);
    let server = early(response, move |stream| {
        let _ = tell.lock().unwrap().send(count(stream, length));
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    (server, told)
}

/// As [`early`]; then reads nothing until the test is over.
fn deaf(response: &'static str) -> Server {
    early(response, |_| std::thread::sleep(PATIENCE))
}

const EARLY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn upload(server: &Server, length: usize) -> CallSpec {
    let head = format!("PUT / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    CallSpec {
        method: Method::Other,
        upload: Upload::Length(length as u64),
        head: Bytes::from(head),
        ..get(server.address)
    }
}

fn told(told: &Receiver<usize>) -> usize {
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_success_does_not_cut_off_the_request() {
    for response in [
        EARLY,
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 303 See Other\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    ] {
        for streamed in [false, true] {
            let (server, arrived) = reading_on(response, LARGE);
            let client = Running::new();
            let call = client.start(CallSpec {
                streamed,
                ..post(server.address, vec![b'x'; LARGE])
            });
            match streamed {
                true => assert!(client.collect(call).is_ok(), "{response}"),
                false => assert!(client.result(call).is_ok(), "{response}"),
            }
            assert_eq!(told(&arrived), LARGE, "{response}");
            client.until_stats("kept", |s| s.idle.load(Ordering::Relaxed) == 1);
            assert!(client.run(get(server.address)).unwrap().reused);
        }
    }
}

#[test]
fn a_success_does_not_cut_off_a_source() {
    let length = 1_000_000;
    let (server, arrived) = reading_on(EARLY, length);
    let client = Running::new();
    let call = client.start(CallSpec {
        streamed: true,
        ..upload(&server, length)
    });
    let piece = Bytes::from(vec![b'x'; length / 2]);
    client.client.send_body(call, piece.clone(), false);
    client.until(call, |said| {
        said.contains(&Said::Body(b"ok".to_vec())).then_some(())
    });
    client.client.send_body(call, piece, true);
    assert_eq!(client.collect(call).unwrap(), b"ok");
    assert_eq!(told(&arrived), length);
    assert!(client.run(get(server.address)).unwrap().reused);
}

#[test]
fn a_success_of_http_1_0_does_not_cut_off_the_request_either() {
    let response = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (server, arrived) = reading_on(response, LARGE);
    let client = Running::new();
    let body = vec![b'x'; LARGE];
    assert_eq!(client.run(post(server.address, body)).unwrap().text(), "ok");
    assert_eq!(told(&arrived), LARGE);
    client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_response_that_refuses_the_body_is_delivered_at_once() {
    for response in [
        "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 307 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 308 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let server = deaf(response);
        let client = Running::new();
        for spec in [
            post(server.address, vec![b'x'; LARGE]),
            upload(&server, LARGE),
        ] {
            assert!(client.run(spec).is_ok(), "{response}");
            client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
        }
    }
}

#[test]
fn a_response_is_delivered_if_its_peer_then_leaves() {
    for resets in [false, true] {
        let server = early(EARLY, move |stream| {
            count(stream, LARGE / 20);
            if resets {
                reset(stream);
            }
        });
        let client = Running::new();
        let spec = post(server.address, vec![b'x'; LARGE]);
        assert_eq!(client.run(spec).unwrap().text(), "ok");
        client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
        // And also while the source has nothing to send.
        let server = early(EARLY, move |stream| {
            if resets {
                reset(stream);
            }
        });
        assert_eq!(client.run(upload(&server, 5)).unwrap().text(), "ok");
        client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
    }
}

#[test]
fn what_follows_an_early_response_neither_ends_the_request_nor_is_a_response() {
    let (server, arrived) = reading_on(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 201 X\r\n\r\n",
        LARGE,
    );
    let client = Running::new();
    let body = vec![b'x'; LARGE];
    assert_eq!(client.run(post(server.address, body)).unwrap().status, 200);
    assert_eq!(told(&arrived), LARGE);
    client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_peer_that_takes_no_more_of_the_request_does_not_keep_its_response() {
    let client = Running::new();
    let server = deaf(EARLY);
    for streamed in [false, true] {
        let mut spec = post(server.address, vec![b'x'; LARGE]);
        spec.streamed = streamed;
        // The reader has yet to take the response: the peer's silence counts all the same.
        spec.window = 1;
        spec.timeouts.idle = Millis(300);
        let late = spec.clone();
        spec.timeouts.idle = Millis(60_000);
        spec.timeouts.deadline = Some((Millis(300), Millis(300)));
        for spec in [late, spec] {
            let body = match streamed {
                true => client.collect(client.start(spec)).unwrap(),
                false => client.run(spec).unwrap().body,
            };
            assert_eq!(body, b"ok");
            client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
        }
    }
}

#[test]
fn a_source_that_has_nothing_for_long_after_the_response_does_not_keep_it() {
    let client = Running::new();
    let server = deaf(EARLY);
    let mut idle = upload(&server, 5);
    idle.timeouts.idle = Millis(300);
    let mut late = upload(&server, 5);
    late.timeouts.deadline = Some((Millis(300), Millis(300)));
    for spec in [idle, late] {
        let call = client.start(CallSpec {
            streamed: true,
            ..spec
        });
        assert_eq!(client.collect(call).unwrap(), b"ok");
        client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
    }
}

#[test]
fn a_source_or_caller_that_gives_up_after_the_response_fails_the_call() {
    let server = deaf(EARLY);
    let client = Running::new();
    for (give_up, kind) in [
        (Client::cancel as fn(&Client, CallId), ErrorKind::Cancelled),
        (Client::send_failed, ErrorKind::SourceFailed),
    ] {
        let call = client.start(CallSpec {
            streamed: true,
            ..upload(&server, 5)
        });
        client.until(call, |said| {
            said.contains(&Said::Body(b"ok".to_vec())).then_some(())
        });
        give_up(&client.client, call);
        assert_eq!(client.collect(call).unwrap_err().kind, kind);
        client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
    }
}

#[test]
fn a_slow_reader_of_the_response_does_not_hold_up_the_request() {
    let body = "x".repeat(300_000);
    let response = String::from_utf8(response(&body)).unwrap();
    let (server, arrived) = reading_on(response.leak(), LARGE);
    let client = Running::new();
    let call = client.start(CallSpec {
        streamed: true,
        window: 1,
        ..post(server.address, vec![b'x'; LARGE])
    });
    assert_eq!(told(&arrived), LARGE);
    assert_eq!(client.collect(call).unwrap(), body.as_bytes());
    client.until_stats("kept", |s| s.idle.load(Ordering::Relaxed) == 1);
}

#[test]
fn a_request_is_not_repeated_after_its_response_nor_its_connection_used_before_its_end() {
    let server = Server::new(|nth, stream| {
        assert_eq!(nth, 0);
        read_request(stream).unwrap();
        stream.write_all(OK).unwrap();
        read_head(stream);
        stream.write_all(EARLY.as_bytes()).unwrap();
        count(stream, LARGE / 2);
        reset(stream);
    });
    let client = Running::with(ClientConfig {
        max_connections: Some(1),
        ..ClientConfig::default()
    });
    client.run(get(server.address)).unwrap();
    let body = Bytes::from(vec![b'x'; LARGE]);
    let spec = CallSpec {
        method: Method::Get,
        ..post(server.address, body)
    };
    assert!(client.run(spec).unwrap().reused);
    client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
    assert_eq!(server.connections(), 1);

    let length = 5;
    let (server, arrived) = reading_on(EARLY, length);
    let first = client.start(upload(&server, length));
    client.until(first, |said| (!said.is_empty()).then_some(()));
    let second = client.start(get(server.address));
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    client.client.send_body(first, Bytes::from("abcde"), true);
    assert_eq!(client.result(first).unwrap().text(), "ok");
    assert_eq!(told(&arrived), length);
    assert!(client.result(second).unwrap().reused);
}

#[test]
fn a_tunnel_carries_the_rest_of_the_request() {
    let (tell, arrived) = channel();
    let tell = Arc::new(Mutex::new(tell));
    let proxy = Server::new(move |_, stream| {
        read_head(stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        read_head(stream);
        stream.write_all(EARLY.as_bytes()).unwrap();
        tell.lock().unwrap().send(count(stream, LARGE)).unwrap();
        hang(stream);
    });
    let client = Running::new();
    let seen = client.run(CallSpec {
        route: Route::Tunnel {
            host: "target.test".to_owned(),
            port: 80,
            authorization: String::new(),
            tls: None,
        },
        ..post(proxy.address, vec![b'x'; LARGE])
    });
    assert_eq!(seen.unwrap().text(), "ok");
    assert_eq!(told(&arrived), LARGE);
}
