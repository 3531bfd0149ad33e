use std::io::{Read, Write};
use std::time::Duration;

use flate2::read::GzDecoder;
use httpkit_core::server::{CORK, GZIP_LEVEL, GZIP_WINDOW, Mode, ResponseHead, Sent};

use crate::support::{Running, config, read_head, reply, wait_until};

fn compressed() -> ResponseHead<'static> {
    ResponseHead {
        flags: 1 << GZIP_LEVEL | 13 << GZIP_WINDOW,
        ..reply()
    }
}

/// The body behind a head, its chunks joined.
fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            assert_eq!(&bytes[end..], b"\r\n\r\n");
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..][..size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}

fn decoded(coded: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(coded).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_compressed_stream_is_one_gzip_body_with_its_heartbeats() {
    let server = Running::start(config(Mode::Pull));
    for first in ["", "first\n"] {
        let mut peer = server.connect();
        peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
            .unwrap();
        let exchange = server.request();
        let sent = exchange.stream(&compressed(), first.as_bytes());
        assert_eq!(sent, Sent::Accepted);
        assert!(exchange.heartbeat(Duration::from_millis(1)));
        read_head(&mut peer);
        std::thread::sleep(Duration::from_millis(50)); // Time for heartbeats.
        let long = "long ".repeat(20_000);
        let pieces = ["one\n", "", "two\n", &long, "three\n"];
        for piece in pieces {
            assert_eq!(
                exchange.send_chunk(piece.as_bytes(), 0, usize::MAX),
                Sent::Accepted
            );
        }
        assert_eq!(exchange.end_stream(), Sent::Accepted);
        assert_eq!(exchange.end_stream(), Sent::Closed);
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        let text = decoded(&unchunked(&bytes));
        assert!(text.contains(":\n\n"), "a heartbeat");
        assert_eq!(
            text.replace(":\n\n", ""),
            first.to_owned() + &pieces.concat()
        );
    }
}

#[test]
fn a_full_compressed_stream_refuses_before_it_compresses() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&compressed(), b""), Sent::Accepted);
    read_head(&mut peer);
    // Without a pattern, so that it stays long.
    let mut x = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8 & 0x7f
    })
    .take(12 << 20)
    .collect();
    assert_eq!(exchange.send_chunk(&noise[..], 0, 1000), Sent::Accepted);
    assert_eq!(exchange.send_chunk(b"refused", 0, 1000), Sent::Full);
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).unwrap();
        bytes
    });
    wait_until("there is room", || exchange.pending_bytes() < 1000);
    assert_eq!(exchange.send_chunk(b"accepted", 0, 1000), Sent::Accepted);
    exchange.end_stream();
    let text = decoded(&unchunked(&reader.join().unwrap()));
    assert!(text.ends_with("accepted") && text.len() == noise.len() + 8);
}

#[test]
fn what_a_callback_holds_back_takes_no_room() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    peer.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    let exchange = server.request();
    assert_eq!(exchange.stream(&compressed(), b""), Sent::Accepted);
    for n in 0..40 {
        let sent = exchange.send_chunk(b"piece\n", CORK, 20);
        assert_eq!(sent, Sent::Accepted, "piece {n}");
    }
    exchange.end_stream();
    read_head(&mut peer);
    let mut bytes = Vec::new();
    peer.read_to_end(&mut bytes).unwrap();
    assert_eq!(decoded(&unchunked(&bytes)), "piece\n".repeat(40));
}
