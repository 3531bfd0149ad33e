use std::io::{Read, Write};

use httpkit_core::server::{INLINE, Mode, Responded, ResponseHead, Work};

use crate::support::{Running, answer, config, read_response, reply};

#[test]
fn a_thread_that_answers_one_deep_pipeline_lets_others_in() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(200))
        .unwrap();
    let reply = ResponseHead {
        flags: INLINE,
        ..reply()
    };
    let mut exchange = server.request();
    for _ in 0..100 {
        match exchange.respond(&reply, b"", 0) {
            Responded::Done(Some(next)) => exchange = next.exchange,
            Responded::Done(None) => {
                let next = server.server.take();
                assert!(matches!(next, Some(Work::Request(_))), "{next:?}");
                return;
            }
            other => panic!("{other:?}"),
        }
        assert!(exchange.bind(1));
    }
    panic!("a hundred in a row");
}

#[test]
fn a_response_leaves_soon_though_the_next_one_of_its_pipeline_takes_long() {
    let server = Running::start(config(Mode::Pull));
    let mut peers = [server.connect(), server.connect(), server.connect()];
    let reply = ResponseHead {
        flags: INLINE,
        ..reply()
    };
    // More than once on each connection: it is listed anew.
    for round in 0..3 {
        let mut unanswered = Vec::new();
        for peer in &mut peers {
            peer.write_all(&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3))
                .unwrap();
            let mut exchange = server.request();
            for _ in 0..2 {
                match exchange.respond(&reply, b"held", 4) {
                    Responded::Done(Some(next)) => exchange = next.exchange,
                    other => panic!("{other:?}"),
                }
            }
            unanswered.push(exchange);
        }
        for (peer, exchange) in peers.iter_mut().zip(unanswered) {
            for _ in 0..2 {
                assert!(read_response(peer).ends_with(b"held"), "round {round}");
            }
            answer(&exchange, b"last");
            assert!(read_response(peer).ends_with(b"last"), "round {round}");
        }
    }
}

#[test]
fn a_request_of_http_1_0_in_chunks_is_its_connections_last() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    let head = b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = b"3\r\nabc\r\n0\r\n\r\n";
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    peer.write_all(&[&head[..], body, smuggled].concat())
        .unwrap();
    answer(&server.request(), b"hello");
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert!(all.ends_with("\r\n\r\nhello"), "{all}");
    assert!(!all.to_ascii_lowercase().contains("keep-alive"), "{all}");
}
