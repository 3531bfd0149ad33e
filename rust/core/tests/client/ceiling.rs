//! How much of a response is collected.

use crate::support::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use httpkit_core::client::*;
use std::io::Write;
use std::sync::atomic::Ordering;

const MIB: usize = 1024 * 1024;

/// Sends the head, then as much of the body as the client takes.
fn serving(head: String, body: Vec<u8>) -> Server {
    Server::new(move |_, stream| {
        while read_request(stream).is_some() {
            if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() {
                return;
            }
        }
    })
}

fn announcing(length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n")
}

fn bomb(length: usize) -> Server {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; length]).unwrap();
    let body = encoder.finish().unwrap();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    serving(head, body)
}

fn chunked(pieces: usize) -> Server {
    let piece = [&b"10000\r\n"[..], &[0; 0x10000], b"\r\n"].concat();
    let body = [piece.repeat(pieces), b"0\r\n\r\n".to_vec()].concat();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    serving(head.to_owned(), body)
}

fn at_most(server: &Server, most: u64) -> CallSpec {
    CallSpec {
        max_body: Some(most),
        ..get(server.address)
    }
}

fn too_large(result: Result<Seen, CallError>, text: &str) {
    let error = result.map(|seen| seen.body.len()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
    assert!(error.message.contains(text), "{}", error.message);
}

fn client_with_room(room: usize) -> Running {
    let client = Running::new();
    client.log.room.store(room as u64, Ordering::SeqCst);
    client
}

#[test]
fn a_body_that_is_announced_too_long_is_not_waited_for() {
    let client = client_with_room(MIB);
    let silent = serving(announcing(2 * MIB), Vec::new());
    too_large(
        client.run(at_most(&silent, 1000)),
        "max-response-bytes: 1000",
    );
    too_large(client.run(get(silent.address)), "room for 1048576 bytes");
    client.until_stats("the connections are closed", |stats| {
        stats.open.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn a_body_that_grows_too_long_fails_when_it_does() {
    let client = client_with_room(MIB);
    too_large(
        client.run(at_most(&chunked(4), 0x30000)),
        "max-response-bytes: 196608",
    );
    too_large(client.run(get(chunked(64).address)), "room for");
    too_large(client.run(get(bomb(64 * MIB).address)), "room for");
    too_large(
        client.run(at_most(&bomb(64 * MIB), 10)),
        "max-response-bytes: 10",
    );
    assert_eq!(client.client.stats().buffered.load(Ordering::Relaxed), 0);
}

#[test]
fn a_body_that_fits_exactly_is_taken() {
    let client = client_with_room(4 * 0x10000);
    let length = |spec| client.run(spec).unwrap().body.len();
    assert_eq!(length(get(chunked(4).address)), 4 * 0x10000);
    assert_eq!(length(at_most(&chunked(4), 4 * 0x10000)), 4 * 0x10000);
    assert_eq!(length(at_most(&bomb(MIB), MIB as u64)), MIB);
    let empty = serving(announcing(0), Vec::new());
    assert_eq!(length(at_most(&empty, 0)), 0);
}

#[test]
fn a_limit_counts_for_streams_and_the_room_does_not() {
    let client = client_with_room(0);
    let streamed = |spec| {
        let call = client.start(CallSpec {
            streamed: true,
            ..spec
        });
        client.collect(call)
    };
    assert_eq!(
        streamed(get(chunked(40).address)).unwrap().len(),
        40 * 0x10000
    );
    let error = streamed(at_most(&chunked(40), 0x20000)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TooLarge);
}

#[test]
fn a_length_without_a_body_is_no_length() {
    let client = client_with_room(0);
    let server = serving(announcing(1000 * MIB), Vec::new());
    let head = CallSpec {
        method: Method::Head,
        ..at_most(&server, 10)
    };
    assert_eq!(client.run(head).unwrap().status, 200);
}

#[test]
fn responses_share_the_room() {
    let client = client_with_room(5 * MIB);
    let server = serving(announcing(4 * MIB), vec![0; 2 * MIB]);
    let first = client.start(get(server.address));
    client.until_stats("the first is being collected", |stats| {
        stats.buffered.load(Ordering::Relaxed) == 2 * MIB as u64
    });
    too_large(client.run(get(server.address)), "room for 5242880 bytes");
    client.client.cancel(first);
    client.until_stats("its memory is given back", |stats| {
        stats.buffered.load(Ordering::Relaxed) == 0
    });
}

#[test]
fn the_room_is_asked_for_once_in_many_small_responses() {
    let client = client_with_room(MIB);
    let server = Server::answering(OK);
    for _ in 0..300 {
        client.run(get(server.address)).unwrap();
    }
    assert_eq!(client.log.rooms_asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_body_that_is_decoded_whole_has_the_same_limits() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; MIB]).unwrap();
    let body = encoder.finish().unwrap();
    let decoded = |limit, room| {
        let most = Ceilings {
            filter: None,
            limit,
            room,
        };
        decode_whole(Coding::Gzip, &body, most).map_err(|error| error.kind)
    };
    let all = MIB as u64;
    assert_eq!(decoded(Some(all), Some(all)).unwrap().len(), MIB);
    assert_eq!(decoded(Some(all - 1), None), Err(ErrorKind::TooLarge));
    assert_eq!(decoded(None, Some(all - 1)), Err(ErrorKind::TooLarge));
}
