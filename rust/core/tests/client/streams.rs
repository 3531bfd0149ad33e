//! Bodies in pieces, both ways, with bounded memory.

use crate::support::*;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use httpkit_core::client::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn streamed(server: &Server) -> CallSpec {
    CallSpec {
        streamed: true,
        ..get(server.address)
    }
}

fn answer_with(stream: &mut TcpStream, head: &str, body: &[u8]) {
    read_request(stream);
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(body);
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_head_comes_first_then_pieces_then_the_end() {
    let server = Server::new(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
        answer_with(stream, head, b"");
        std::thread::sleep(Duration::from_millis(30));
        stream
            .write_all(b"3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n")
            .unwrap();
        hang(stream);
    });
    let client = Running::new();
    let call = client.start(streamed(&server));
    assert_eq!(client.collect(call).unwrap(), b"abcdef");
    let said = client.log.calls.lock().unwrap()[&call].clone();
    assert!(matches!(&said[0], Said::Head(head) if head.status == 200 && !head.trailers));
    let merged = &said[said.len() - 2];
    assert!(matches!(merged, Said::Head(head) if head.trailers && head.headers.len() == 2));
    client.until_stats("pooled", |s| s.idle.load(Ordering::Relaxed) == 1);
}

#[test]
fn an_empty_body_is_head_and_end() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let client = Running::new();
    let call = client.start(streamed(&server));
    assert_eq!(client.collect(call).unwrap(), b"");
    assert_eq!(client.log.calls.lock().unwrap()[&call].len(), 2);
}

#[test]
fn what_came_before_a_failure_is_handed_out() {
    let server = Server::new(|_, stream| {
        answer_with(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            b"abc",
        );
    });
    let client = Running::new();
    let call = client.start(streamed(&server));
    let error = client.collect(call).unwrap_err();
    assert_eq!(error.message, "Unexpected EOF before response completed");
    let said = client.log.calls.lock().unwrap()[&call].clone();
    assert_eq!(said[1], Said::Body(b"abc".to_vec()));
}

/// A server that sends `total` bytes and counts what the socket took.
fn flood(total: usize) -> (Server, Arc<AtomicUsize>) {
    let sent = Arc::new(AtomicUsize::new(0));
    let counter = sent.clone();
    let server = Server::new(move |_, stream| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n");
        answer_with(stream, &head, b"");
        let block = [b'x'; 65536];
        let mut left = total;
        while left > 0 {
            let n = left.min(block.len());
            if stream.write_all(&block[..n]).is_err() {
                return;
            }
            left -= n;
            counter.fetch_add(n, Ordering::SeqCst);
        }
        hang(stream);
    });
    (server, sent)
}

fn bodies(client: &Running, call: CallId) -> usize {
    let calls = client.log.calls.lock().unwrap();
    let said = calls.get(&call).map_or(&[][..], |said| &said[..]);
    said.iter()
        .map(|one| match one {
            Said::Body(data) => data.len(),
            _ => 0,
        })
        .sum()
}

#[test]
fn a_slow_reader_stops_the_socket_and_the_idle_timeout() {
    let total = 100_000_000;
    let (server, sent) = flood(total);
    let client = Running::new();
    let mut spec = streamed(&server);
    spec.window = 100_000;
    spec.timeouts.idle = Millis(150);
    let call = client.start(spec);
    eventually("the window is used up", || bodies(&client, call) >= 100_000);
    std::thread::sleep(Duration::from_millis(500));
    let handed = bodies(&client, call);
    assert!(handed < 100_000 + 65536, "{handed}");
    let before = sent.load(Ordering::SeqCst);
    assert!(before < 30_000_000, "{before} bytes went into sockets");
    client.client.credit(call, total);
    eventually("all arrives", || bodies(&client, call) == total);
    client.until(call, |said| (said.last() == Some(&Said::End)).then_some(()));
}

#[test]
fn a_small_window_hands_out_the_same_bytes() {
    let data: Vec<u8> = (0..300_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    for coded in [false, true] {
        let (body, coding) = match coded {
            true => (gzip(&data), "Content-Encoding: gzip\r\n"),
            false => (data.clone(), ""),
        };
        let server = Server::new(move |_, stream| {
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\n{coding}Content-Length: {length}\r\n\r\n");
            answer_with(stream, &head, &body);
            hang(stream);
        });
        let client = Running::new();
        let mut spec = streamed(&server);
        spec.window = 1;
        let call = client.start(spec);
        assert!(client.collect(call).unwrap() == data);
    }
}

/// Responses with this body, behind their status lines.
fn framings(data: &[u8]) -> Vec<Vec<u8>> {
    let coded = gzip(data);
    let mut all = Vec::new();
    for (coding, body) in [("", data), ("Content-Encoding: gzip\r\n", &coded)] {
        let length = body.len();
        let head = format!("{coding}Content-Length: {length}\r\n\r\n");
        all.push([head.as_bytes(), body].concat());
        for end in ["\r\n0\r\n\r\n", "\r\n0\r\nX: 1\r\n\r\n"] {
            let head = format!("{coding}Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
            all.push([head.as_bytes(), body, end.as_bytes()].concat());
        }
    }
    all
}

#[test]
fn a_body_that_fills_the_window_ends_without_being_read() {
    const WINDOW: usize = 32 * 1024;
    for size in [WINDOW - 1, WINDOW, WINDOW + 1, WINDOW * 2] {
        let data: Vec<u8> = (0..size).map(|n| (n / 3) as u8).collect();
        for (nth, response) in framings(&data).into_iter().enumerate() {
            for late in [0, 1, 4, 7, 12] {
                let case = format!("{size} bytes, framing {nth}, the last {late} bytes late");
                let (now, later) = response.split_at(response.len() - late);
                let (now, later) = (now.to_vec(), later.to_vec());
                let (go, gate) = std::sync::mpsc::channel();
                let gate = Mutex::new(gate);
                let server = Server::new(move |_, stream| {
                    answer_with(stream, "HTTP/1.1 200 OK\r\n", &now);
                    gate.lock().unwrap().recv().unwrap();
                    stream.write_all(&later).unwrap();
                    hang(stream);
                });
                let client = Running::new();
                let mut spec = streamed(&server);
                spec.window = WINDOW;
                let call = client.start(spec);
                eventually(&case, || bodies(&client, call) > WINDOW / 2);
                go.send(()).unwrap();
                if size > WINDOW {
                    client.client.credit(call, WINDOW);
                }
                let idle = || client.client.stats().idle.load(Ordering::Relaxed);
                eventually(&case, || idle() == 1);
                assert_eq!(bodies(&client, call), size, "{case}");
            }
        }
    }
}

#[test]
fn a_bomb_expands_only_as_far_as_there_is_window() {
    let bomb = gzip(&vec![0; 200_000_000]);
    let server = Server::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        answer_with(stream, head, &bomb);
    });
    let client = Running::new();
    let mut spec = streamed(&server);
    spec.window = 1_000_000;
    let call = client.start(spec.clone());
    eventually("the window is used up", || {
        bodies(&client, call) >= 1_000_000
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(bodies(&client, call) < 1_100_000);
    client.client.cancel(call);
    spec.streamed = false;
    spec.max_decoded = Some(10_000_000);
    let error = client.run(spec).unwrap_err();
    assert_eq!(
        error.message,
        "Rejected when decompressing body, length: 10002432"
    );
    assert_eq!(client.client.stats().buffered.load(Ordering::Relaxed), 0);
}

#[test]
fn a_bomb_that_is_collected_holds_up_no_other_call() {
    let bomb = gzip(&vec![0; 24 << 20]);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        bomb.len()
    );
    let server = Server::new(move |_, stream| {
        answer_with(stream, &head, &bomb);
        hang(stream);
    });
    let other = Server::answering(OK);
    let client = Running::new();
    client.run(get(other.address)).unwrap();
    let call = client.start(get(server.address));
    let whole = |stats: &Stats| stats.buffered.load(Ordering::Relaxed) > 0;
    client.until_stats("it expands", whole);
    let mut served = 0;
    while client.client.stats().active.load(Ordering::Relaxed) > 0 && served < 10 {
        client.run(get(other.address)).unwrap();
        served += 1;
    }
    assert_eq!(served, 10, "calls beside the one that expands");
    assert_eq!(client.result(call).unwrap().body.len(), 24 << 20);
}

#[test]
fn a_wire_limit_counts_body_bytes() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    let client = Running::new();
    let mut spec = get(server.address);
    spec.max_wire = Some(3);
    assert_eq!(client.run(spec.clone()).unwrap().text(), "abc");
    spec.max_wire = Some(2);
    assert_eq!(
        client.run(spec),
        Err(CallError::new(
            ErrorKind::Abort,
            "Rejected when reading body, length: 3"
        ))
    );
}

#[test]
fn raw_bodies_stay_coded() {
    let body = gzip(b"hello");
    let coded = body.clone();
    let server = Server::new(move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        answer_with(stream, head, &body);
    });
    let client = Running::new();
    let plain = client.run(get(server.address)).unwrap();
    assert_eq!((plain.text().as_str(), plain.decoded), ("hello", true));
    let mut spec = get(server.address);
    spec.raw = true;
    let raw = client.run(spec).unwrap();
    assert_eq!((raw.body, raw.decoded), (coded, false));
}

#[test]
fn a_gzip_header_alone_is_announced_and_a_bad_one_fails() {
    let server = Server::new(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        answer_with(stream, head, &gzip(b"hello")[..10]);
        hang(stream);
    });
    let client = Running::new();
    let call = client.start(streamed(&server));
    client.until(call, |said| {
        said.contains(&Said::Body(Vec::new())).then_some(())
    });
    client.client.cancel(call);
    let server = Server::new(|_, stream| {
        let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
        answer_with(stream, head, b"notgzip");
    });
    let call = client.start(streamed(&server));
    let error = client.collect(call).unwrap_err();
    assert_eq!(error, CallError::new(ErrorKind::Zip, "Not in GZIP format"));
}

/// Sends `data` in pieces as credit comes; the most that was ever on its way.
fn pump(client: &Running, call: CallId, data: &[u8]) {
    let (mut seen, mut credit, mut at) = (0, 0, 0);
    while at < data.len() {
        credit += client.until(call, |said| {
            let more: usize = said[seen..]
                .iter()
                .map(|one| match one {
                    Said::SendCredit(n) => *n,
                    Said::Failure(error, _) => panic!("{error:?}"),
                    _ => 0,
                })
                .sum();
            let found = (more > 0 || credit > 0).then_some(more);
            seen = said.len();
            found
        });
        let n = credit.min(10_000).min(data.len() - at);
        let piece = Bytes::copy_from_slice(&data[at..at + n]);
        at += n;
        credit -= n;
        assert!(client.client.send_body(call, piece, at == data.len()));
    }
}

#[test]
fn an_upload_of_known_length_arrives_whole() {
    let data: Vec<u8> = (0..1_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let want = data.clone();
    let server = Server::new(move |_, stream| {
        let (_, body) = read_request(stream).unwrap();
        assert!(body == want);
        stream.write_all(OK).unwrap();
        hang(stream);
    });
    let client = Running::new();
    let length = data.len();
    let head = format!("PUT / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let call = client.start(CallSpec {
        method: Method::Other,
        upload: Upload::Length(length as u64),
        head: Bytes::from(head),
        ..get(server.address)
    });
    pump(&client, call, &data);
    assert_eq!(client.result(call).unwrap().status, 200);
    client.until_stats("pooled", |s| s.idle.load(Ordering::Relaxed) == 1);
}

#[test]
fn an_upload_of_unknown_length_is_chunked() {
    let server = Server::new(|_, stream| {
        read_request(stream).unwrap();
        let mut body = Vec::new();
        let mut byte = [0];
        while !body.ends_with(b"0\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            body.push(byte[0]);
        }
        assert_eq!(body, b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
        stream.write_all(OK).unwrap();
    });
    let client = Running::new();
    let call = client.start(CallSpec {
        method: Method::Other,
        upload: Upload::Chunked,
        head: Bytes::from_static(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ..get(server.address)
    });
    for (piece, last) in [("hello", false), (" world", false), ("", true)] {
        client.client.send_body(call, Bytes::from(piece), last);
    }
    assert_eq!(client.result(call).unwrap().status, 200);
}

#[test]
fn an_upload_of_another_length_fails() {
    let server = Server::new(|_, stream| hang(stream));
    let client = Running::new();
    for (piece, last) in [("abc", true), ("abcdef", false)] {
        let call = client.start(CallSpec {
            method: Method::Other,
            upload: Upload::Length(5),
            ..get(server.address)
        });
        client.client.send_body(call, Bytes::from(piece), last);
        assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Io);
    }
    let call = client.start(CallSpec {
        method: Method::Other,
        upload: Upload::Length(5),
        ..get(server.address)
    });
    client.client.send_failed(call);
    let kind = client.result(call).unwrap_err().kind;
    assert_eq!(kind, ErrorKind::SourceFailed);
}

#[test]
fn bytes_that_the_embedder_cannot_take_fail_the_call() {
    let server = Server::answering(OK);
    let client = Running::new();
    client.log.most.store(1, Ordering::SeqCst);
    for streamed in [false, true] {
        let call = client.start(CallSpec {
            streamed,
            ..get(server.address)
        });
        assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Internal);
    }
    client.log.most.store(0, Ordering::SeqCst);
    assert_eq!(client.run(get(server.address)).unwrap().text(), "ok");
}

#[test]
fn a_slow_source_does_not_run_into_the_idle_timeout() {
    let server = Server::new(|_, stream| {
        read_request(stream).unwrap();
        stream.write_all(OK).unwrap();
        hang(stream);
    });
    let client = Running::new();
    let mut spec = CallSpec {
        method: Method::Other,
        upload: Upload::Length(2),
        head: Bytes::from_static(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n"),
        ..get(server.address)
    };
    spec.timeouts.idle = Millis(300);
    let call = client.start(spec);
    client.until(call, |said| (!said.is_empty()).then_some(()));
    std::thread::sleep(Duration::from_millis(700));
    client.client.send_body(call, Bytes::from("ok"), true);
    assert_eq!(client.result(call).unwrap().status, 200);
}
