use std::io::{Read, Write};

use httpkit_core::server::Sent;
use httpkit_core::server::queue::Mode;

use crate::support::{Running, config, reply};

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
