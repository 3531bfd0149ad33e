use std::io::{Read, Write};

use httpkit_core::server::Sent;
use httpkit_core::server::queue::{Mode, Work};

use crate::support::{Running, config, read_head, reply};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn a_stream_to_http_1_0_is_raw_even_if_a_websocket_was_asked_for() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.0\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&reply(), b"raw"), Sent::Accepted);
    assert_eq!(exchange.end(), Sent::Accepted);
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    assert!(!answer.contains("chunked"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nraw"), "{answer}");
}

#[test]
fn what_a_reset_has_lost_does_not_count_as_written() {
    let server = Running::start(config(Mode::Pull));
    let long = vec![b'x'; 12 << 20];
    for _ in 0..50 {
        let mut peer = server.connect();
        peer.write_all(GET).unwrap();
        let exchange = server.request();
        // Unread input makes the close a reset.
        assert_eq!(exchange.stream(&reply(), b"first"), Sent::Accepted);
        read_head(&mut peer);
        drop(peer);
        // The loop may or may not have noticed.
        exchange.chunk(&long, 0, usize::MAX);
        let written = !exchange.when_drained() && exchange.is_open();
        assert!(!written, "nobody could have read it");
        assert!(matches!(server.server.take(), Some(Work::Events(_))));
    }
}
