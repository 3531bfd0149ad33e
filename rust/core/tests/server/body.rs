//! Bodies that are read as they arrive.

use std::io::{ErrorKind, Read as _, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use httpkit_core::error::Violation;
use httpkit_core::h1::{ChunkedDecoder, Limits};
use httpkit_core::server::request::{FLAG_STREAMED, FLAG_UPGRADE};
use httpkit_core::server::{
    BodyFault, Config, Event, Exchange, Mode, Read, Refusal, ResponseHead, Sent, Server, Timeout,
    Times, Work,
};

use crate::support::{
    PATIENCE, Running, answer, closings, config, read_head, read_response, reply, wait_until,
};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const BUFFER: usize = 10;
const WINDOW: usize = 16 * 1024;

fn streaming() -> Config {
    Config {
        request_buffer: Some(BUFFER),
        body_window: WINDOW,
        ..config(Mode::Pull)
    }
}

/// A request as user code gets it.
struct Upload {
    exchange: Exchange,
    block: Vec<u8>,
    /// How often the reader was told to wait.
    waits: usize,
}

impl Upload {
    fn take(server: &Server) -> Self {
        match server.take() {
            Some(Work::Request(request)) => {
                let exchange = request.exchange.clone();
                assert!(exchange.bind(7));
                let block = request.into_block(7);
                Self {
                    exchange,
                    block,
                    waits: 0,
                }
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_streamed(&self) -> bool {
        self.block[10] & FLAG_STREAMED != 0
    }

    fn number(&self, at: usize) -> usize {
        u32::from_le_bytes(self.block[at..at + 4].try_into().unwrap()) as usize
    }

    /// The bytes that came with the request.
    fn start(&self) -> &[u8] {
        &self.block[self.number(40)..self.number(40) + self.number(44)]
    }

    fn declared(&self) -> i64 {
        i64::from_le_bytes(self.block[72..80].try_into().unwrap())
    }

    /// Reads until nothing is there.
    fn read(&mut self, step: usize) -> (Vec<u8>, Read) {
        let mut all = Vec::new();
        let mut piece = vec![0; step];
        loop {
            match self.exchange.read_body(&mut piece) {
                Read::Data(n) => all.extend_from_slice(&piece[..n]),
                other => {
                    self.waits += usize::from(other == Read::Later);
                    return (all, other);
                }
            }
        }
    }

    /// Reads to the end, and waits as it is told to.
    fn rest(&mut self, server: &Running, step: usize) -> (Vec<u8>, Read) {
        let mut all = Vec::new();
        loop {
            let (piece, outcome) = self.read(step);
            all.extend(piece);
            if outcome != Read::Later {
                return (all, outcome);
            }
            self.await_more(server);
        }
    }

    fn await_more(&self, server: &Running) {
        wait_until("the reader may go on", || {
            server.sink.bodies.lock().len() >= self.waits
        });
    }
}

/// A head, and its body on the wire.
fn post(framing: &str, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n");
    (head.into_bytes(), body.to_vec())
}

fn with_length(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    post(&format!("Content-Length: {}", body.len()), body)
}

/// In chunks of 7, 100 and 100 bytes, and the rest.
fn chunked(body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let mut wire = Vec::new();
    let mut left = body;
    for size in [7, 100, 100, usize::MAX] {
        let (chunk, rest) = left.split_at(size.min(left.len()));
        left = rest;
        if !chunk.is_empty() {
            wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
            wire.extend_from_slice(chunk);
            wire.extend(b"\r\n");
        }
    }
    wire.extend(b"0\r\nx-sum: 5\r\n\r\n");
    post("Transfer-Encoding: chunked", &wire)
}

fn bytes(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + i / 251) as u8).collect()
}

/// Whether the head and this much of the body make the server hand the request over.
fn is_handed_over(length_known: bool, wire: &[u8]) -> bool {
    if length_known {
        return true;
    }
    let mut body = Vec::<u8>::new();
    let mut decoder = ChunkedDecoder::new(&Limits::default(), 0, 0);
    decoder.decode(wire, &mut body).unwrap();
    body.len() > BUFFER
}

#[test]
fn a_long_body_is_the_same_in_both_framings_however_it_is_split() {
    let server = Running::start(streaming());
    let body = bytes(230);
    for (head, wire) in [with_length(&body), chunked(&body)] {
        let known = wire.len() == body.len();
        let mut peer = server.connect();
        peer.set_nodelay(true).unwrap();
        for split in 0..=wire.len() {
            server.sink.bodies.lock().clear();
            let first = [&head, &wire[..split]].concat();
            peer.write_all(&first).unwrap();
            let mut early = None;
            if is_handed_over(known, &wire[..split]) {
                let mut upload = Upload::take(&server.server);
                // What the server has taken of the first part, it does not see together with the second one.
                let read = upload.read(1000).0;
                early = Some((upload, read));
            }
            peer.write_all(&[&wire[split..], GET].concat()).unwrap();
            let (mut upload, mut read) =
                early.unwrap_or_else(|| (Upload::take(&server.server), Vec::new()));
            assert!(upload.is_streamed(), "split at {split}");
            assert_eq!(upload.declared(), if known { 230 } else { -1 });
            if upload.waits > 0 {
                upload.await_more(&server);
            }
            let (rest, outcome) = upload.rest(&server, 1 + split % 50);
            read.extend(rest);
            assert_eq!(outcome, Read::End, "split at {split}");
            let whole = [upload.start(), &read].concat();
            assert_eq!(whole, body, "split at {split}");
            assert_eq!(upload.read(10).1, Read::End, "again");
            answer(&upload.exchange, b"post");
            answer(&server.request(), b"get");
            assert_eq!(read_response(&mut peer), b"post");
            assert_eq!(read_response(&mut peer), b"get");
        }
    }
    assert_eq!(server.server.accepted(), 2, "each connection served all");
}

#[test]
fn a_body_within_the_buffer_comes_with_its_request() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let body = bytes(BUFFER);
    for (head, wire) in [with_length(&body), chunked(&body), with_length(b"")] {
        peer.write_all(&[head, wire].concat()).unwrap();
        let mut upload = Upload::take(&server.server);
        assert!(!upload.is_streamed());
        assert!(upload.start().is_empty() || upload.start() == body);
        assert_eq!(upload.read(10).1, Read::Failed(BodyFault::Over));
        answer(&upload.exchange, b"x");
        read_response(&mut peer);
    }
}

#[test]
fn without_the_option_every_body_comes_with_its_request() {
    let server = Running::start(config(Mode::Pull));
    let mut peer = server.connect();
    let body = bytes(1_000_000);
    for (head, wire) in [with_length(&body), chunked(&body)] {
        peer.write_all(&[head, wire].concat()).unwrap();
        let upload = Upload::take(&server.server);
        assert!(!upload.is_streamed());
        assert_eq!(upload.start(), body);
        answer(&upload.exchange, b"x");
        read_response(&mut peer);
    }
}

/// Writes until the server takes no more; returns how much that was.
fn fill(peer: &mut TcpStream, piece: &[u8]) -> usize {
    peer.set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut sent = 0;
    loop {
        match peer.write(piece) {
            Ok(n) => sent += n,
            Err(e) if e.kind() == ErrorKind::WouldBlock => return sent,
            Err(e) => panic!("after {sent} bytes: {e}"),
        }
    }
}

#[test]
fn a_sender_is_as_fast_as_the_reader() {
    const SIZE: usize = 64 << 20;
    let server = Running::start(Config {
        limits: Limits::with_line(8192, u64::MAX),
        receive_buffer: 64 * 1024,
        ..streaming()
    });
    let mut peer = server.connect();
    peer.write_all(
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n").as_bytes(),
    )
    .unwrap();
    let mut upload = Upload::take(&server.server);
    let sent = fill(&mut peer, &vec![b'x'; 64 * 1024]);
    assert!(
        sent < 16 << 20,
        "{sent} bytes were taken ahead of the reader"
    );
    // What is there is at most the window and one read; after that the socket is read again.
    let mut there = vec![0; SIZE];
    let Read::Data(n) = upload.exchange.read_body(&mut there) else {
        panic!("nothing has arrived");
    };
    assert!(n < WINDOW + 64 * 1024, "{n} bytes were kept");
    let sender = std::thread::spawn(move || {
        peer.set_write_timeout(None).unwrap();
        peer.write_all(&vec![b'x'; SIZE - sent]).unwrap();
        peer
    });
    let (rest, outcome) = upload.rest(&server, 10_000);
    assert_eq!(outcome, Read::End);
    assert_eq!(upload.start().len() + n + rest.len(), SIZE);
    let mut peer = sender.join().unwrap();
    answer(&upload.exchange, b"all of it");
    assert_eq!(read_response(&mut peer), b"all of it");
}

#[test]
fn a_reader_that_waits_is_told_once_for_each_wait() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(100));
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    for n in 0..100 {
        assert_eq!(upload.read(10), (Vec::new(), Read::Later), "byte {n}");
        peer.write_all(&body[n..=n]).unwrap();
        upload.await_more(&server);
        let mut byte = [0];
        assert_eq!(upload.exchange.read_body(&mut byte), Read::Data(1));
        assert_eq!(byte[0], body[n]);
        assert_eq!(server.sink.bodies.lock().len(), n + 1);
    }
    assert_eq!(upload.read(10).1, Read::End);
    answer(&upload.exchange, b"x");
}

#[test]
fn a_short_rest_is_dropped_and_the_connection_is_kept() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(65 * 1024));
    for sent in [1024, 2000, 65 * 1024] {
        peer.write_all(&[&head, &body[..sent]].concat()).unwrap();
        let mut upload = Upload::take(&server.server);
        // All of what was sent has arrived.
        let mut arrived = upload.start().len();
        while arrived < sent {
            let (piece, outcome) = upload.read(100_000);
            arrived += piece.len();
            if arrived < sent {
                assert_eq!(outcome, Read::Later);
                upload.await_more(&server);
            }
        }
        answer(&upload.exchange, b"no");
        let head = read_head(&mut peer);
        assert!(!head.contains("Connection"), "{head}");
        peer.read_exact(&mut [0; 2]).unwrap();
        assert_eq!(upload.read(1).1, Read::Failed(BodyFault::Over));
        peer.write_all(&[&body[sent..], GET].concat()).unwrap();
        answer(&server.request(), b"next");
        assert_eq!(read_response(&mut peer), b"next");
        server.sink.bodies.lock().clear();
    }
    assert_eq!(server.server.accepted(), 1);
}

#[test]
fn a_long_rest_ends_the_connection_and_the_response_arrives() {
    let server = Running::start(Config {
        limits: Limits::with_line(8192, u64::MAX),
        ..streaming()
    });
    let body = bytes(20 << 20);
    for (head, wire) in [with_length(&body), chunked(&body)] {
        let mut peer = server.connect();
        peer.write_all(&[&head, &wire[..1000]].concat()).unwrap();
        let upload = Upload::take(&server.server);
        answer(&upload.exchange, b"no");
        // A peer that reads only after it has sent everything.
        peer.write_all(&wire[1000..]).unwrap();
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.contains("\r\nConnection: Close\r\n"), "{all}");
        assert!(all.ends_with("\r\n\r\nno"), "{all}");
    }
}

#[test]
fn a_body_that_has_arrived_may_stay_unread() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let body = bytes(5000);
    for (head, wire) in [with_length(&body), chunked(&body)] {
        peer.write_all(&head).unwrap();
        peer.write_all(&wire).unwrap();
        let mut upload = Upload::take(&server.server);
        let mut read = upload.start().len();
        while read < 4900 {
            match upload.exchange.read_body(&mut [0; 100]) {
                Read::Data(n) => read += n,
                Read::Later => {
                    upload.waits += 1;
                    upload.await_more(&server);
                }
                other => panic!("{other:?}"),
            }
        }
        answer(&upload.exchange, b"enough");
        assert_eq!(read_response(&mut peer), b"enough");
        server.sink.bodies.lock().clear();
    }
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn a_peer_that_leaves_in_the_middle_fails_the_read() {
    for reset in [false, true] {
        for waits in [false, true] {
            let server = Running::start(streaming());
            let mut peer = server.connect();
            let (head, body) = with_length(&bytes(5000));
            peer.write_all(&[&head, &body[..100]].concat()).unwrap();
            let mut upload = Upload::take(&server.server);
            let mut all = upload.start().to_vec();
            while waits && all.len() < 100 {
                let (piece, _) = upload.read(1000);
                all.extend(piece);
                if all.len() < 100 {
                    upload.await_more(&server);
                }
            }
            if reset {
                socket2::SockRef::from(&peer)
                    .set_linger(Some(Duration::ZERO))
                    .unwrap();
                drop(peer);
            } else {
                peer.shutdown(Shutdown::Write).unwrap();
            }
            let (rest, outcome) = upload.rest(&server, 1000);
            all.extend(rest);
            assert_eq!(outcome, Read::Failed(BodyFault::Early));
            assert_eq!(all, body[..all.len()]);
            wait_until("the exchange is over", || !upload.exchange.is_open());
            wait_until("the connection is given up", || {
                server.server.connections() == 0
            });
        }
    }
}

#[test]
fn a_peer_that_ends_its_side_after_the_body_gets_its_response() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(5000));
    peer.write_all(&[head, body.clone()].concat()).unwrap();
    server.end(&peer);
    let mut upload = Upload::take(&server.server);
    let (rest, outcome) = upload.rest(&server, 1000);
    assert_eq!(outcome, Read::End);
    assert_eq!([upload.start(), &rest].concat(), body);
    answer(&upload.exchange, b"x");
    assert_eq!(read_response(&mut peer), b"x");
}

#[test]
fn a_pipelined_body_that_will_never_be_whole_is_not_handed_over() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(5000));
    peer.write_all(&[GET, &head, &body[..100]].concat())
        .unwrap();
    let first = server.request();
    server.end(&peer);
    answer(&first, b"first");
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert!(all.ends_with("\r\n\r\nfirst"), "{all}");
}

#[test]
fn a_broken_body_fails_the_read_and_the_response_says_so() {
    let server = Running::start(Config {
        limits: Limits::with_line(8192, 1000),
        ..streaming()
    });
    for (end, violation, half_closes) in [
        (&b"zz\r\n"[..], Violation::ChunkSize, false),
        (b"zz\r\n", Violation::ChunkSize, true),
        (b"ffff\r\n", Violation::BodyTooLarge, false),
    ] {
        let mut peer = server.connect();
        let (head, _) = post("Transfer-Encoding: chunked", b"");
        peer.write_all(&[&head, &b"14\r\n01234567890123456789\r\n"[..]].concat())
            .unwrap();
        let mut upload = Upload::take(&server.server);
        assert_eq!(upload.start(), b"01234567890123456789");
        peer.write_all(end).unwrap();
        let (none, outcome) = upload.rest(&server, 100);
        assert!(none.is_empty());
        assert_eq!(outcome, Read::Failed(BodyFault::Broken(violation)));
        if half_closes {
            server.end(&peer);
        }
        let reply = ResponseHead {
            status: violation.status(),
            ..reply()
        };
        upload.exchange.respond(&reply, b"told", 4);
        if !half_closes {
            // Input that is ignored does not cost the peer its response.
            peer.write_all(&bytes(1 << 20)).unwrap();
        }
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.contains("\r\nConnection: Close\r\n"), "{all}");
        assert!(all.ends_with("told"), "{all}");
    }
}

#[test]
fn a_channels_peer_that_leaves_after_its_body_has_failed_is_noticed() {
    let server = Running::start(streaming());
    // However much it sends behind that.
    for more in [0, 8 << 20] {
        let mut peer = server.connect();
        let (head, _) = post("Transfer-Encoding: chunked", b"");
        peer.write_all(&[&head, &b"14\r\n01234567890123456789\r\n"[..]].concat())
            .unwrap();
        let mut upload = Upload::take(&server.server);
        assert!(upload.exchange.watch_peer());
        peer.write_all(b"zz\r\n").unwrap();
        let fault = Read::Failed(BodyFault::Broken(Violation::ChunkSize));
        assert_eq!(upload.rest(&server, 100).1, fault);
        peer.set_write_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(&bytes(more)).unwrap();
        drop(peer);
        wait_until("the channel is closed", || !upload.exchange.is_open());
        let heard = closings(server.server.take().into_iter().collect());
        assert_eq!(heard, [Event::Closed(-1, String::new())]);
        assert_eq!(upload.read(100).1, fault, "as before");
        server.sink.bodies.lock().clear();
    }
}

const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n";

#[test]
fn the_first_read_that_finds_nothing_asks_for_the_body() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    for framing in ["Content-Length: 2000", "Transfer-Encoding: chunked"] {
        let (head, _) = post(&format!("{framing}\r\nExpect: 100-continue"), b"");
        peer.write_all(&head).unwrap();
        let mut upload = Upload::take(&server.server);
        assert!(upload.is_streamed() && upload.start().is_empty());
        assert_eq!(upload.read(10).1, Read::Later);
        assert_eq!(upload.read(10).1, Read::Later);
        assert!(read_head(&mut peer).starts_with(CONTINUE));
        let wire = match framing.starts_with('C') {
            true => bytes(2000),
            false => chunked(&bytes(2000)).1,
        };
        peer.write_all(&wire).unwrap();
        upload.waits = 1;
        upload.await_more(&server);
        let (body, outcome) = upload.rest(&server, 1000);
        assert_eq!((body, outcome), (bytes(2000), Read::End));
        answer(&upload.exchange, b"x");
        let head = read_head(&mut peer);
        assert!(head.starts_with("HTTP/1.1 200 "), "once: {head}");
        peer.read_exact(&mut [0]).unwrap();
        server.sink.bodies.lock().clear();
    }
}

#[test]
fn a_response_without_a_read_saves_the_peer_the_body() {
    let server = Running::start(streaming());
    for framing in ["Content-Length: 2000", "Transfer-Encoding: chunked"] {
        let mut peer = server.connect();
        let (head, _) = post(&format!("{framing}\r\nExpect: 100-continue"), b"");
        peer.write_all(&head).unwrap();
        let upload = Upload::take(&server.server);
        let reply = ResponseHead {
            status: 401,
            ..reply()
        };
        upload.exchange.respond(&reply, b"", 0);
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.starts_with("HTTP/1.1 401 "), "{all}");
        // The server cannot know whether the body or a request follows.
        assert!(all.contains("\r\nConnection: Close\r\n"), "{all}");
    }
}

#[test]
fn a_response_may_begin_before_the_body_has_ended() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(30_000));
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    assert_eq!(upload.exchange.stream(&reply(), &[]), Sent::Accepted);
    assert!(read_head(&mut peer).contains("chunked"));
    for piece in body.chunks(1000) {
        peer.write_all(piece).unwrap();
        let mut read = vec![0; piece.len()];
        let mut at = 0;
        while at < read.len() {
            match upload.exchange.read_body(&mut read[at..]) {
                Read::Data(n) => at += n,
                Read::Later => {
                    upload.waits += 1;
                    upload.await_more(&server);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, piece);
        let sent = upload.exchange.send_chunk(&read[..], 0, usize::MAX);
        assert_eq!(sent, Sent::Accepted);
        let mut chunk = vec![0; b"3e8\r\n".len() + 1000 + 2];
        peer.read_exact(&mut chunk).unwrap();
        assert_eq!(&chunk[5..1005], piece);
    }
    assert_eq!(upload.exchange.end_stream(), Sent::Accepted);
    peer.read_exact(&mut [0; 5]).unwrap();
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn the_end_of_the_response_ends_the_wait_of_a_reader() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    // Too much of the second body is left unread, so the connection ends with its response.
    for length in [1000, 100_000] {
        let (head, _) = with_length(&bytes(length));
        peer.write_all(&head).unwrap();
        let mut upload = Upload::take(&server.server);
        assert_eq!(upload.read(10).1, Read::Later);
        answer(&upload.exchange, b"x");
        upload.await_more(&server);
        assert_eq!(upload.read(10).1, Read::Failed(BodyFault::Over));
        read_response(&mut peer);
        peer.write_all(&bytes(length)).unwrap();
    }
}

#[test]
fn a_request_with_a_long_body_opens_no_websocket() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, _) = post("Upgrade: websocket\r\nContent-Length: 1000", b"");
    peer.write_all(&head).unwrap();
    let upload = Upload::take(&server.server);
    // User code is told that one was asked for, so that it can refuse.
    assert_eq!(upload.block[10] & FLAG_UPGRADE, FLAG_UPGRADE);
    assert!(!upload.exchange.upgrade(b"", Default::default(), None));
    answer(&upload.exchange, b"plain");
    assert_eq!(read_response(&mut peer), b"plain");
}

#[test]
fn a_full_queue_refuses_a_streamed_request_as_any_other() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(1000));
    peer.write_all(&head).unwrap();
    Upload::take(&server.server)
        .exchange
        .refuse_all(Refusal::Overload);
    assert_eq!(server.server.stats().totals.rejected, 1);
    assert!(read_head(&mut peer).starts_with("HTTP/1.1 503 "));
    peer.read_exact(&mut [0; 36]).unwrap();
    peer.write_all(&[&body, GET].concat()).unwrap();
    answer(&server.request(), b"next");
    assert_eq!(read_response(&mut peer), b"next");
}

#[test]
fn a_reader_waits_no_longer_than_the_time_limit_for_a_body() {
    let server = Running::start(Config {
        times: Times {
            body: Some(Duration::from_millis(200)),
            ..Times::NONE
        },
        ..streaming()
    });
    for trickle in [false, true] {
        let mut peer = server.connect();
        let (head, _) = with_length(&bytes(60_000));
        peer.write_all(&head).unwrap();
        let mut upload = Upload::take(&server.server);
        let outcome = loop {
            let (_, outcome) = upload.read(10);
            if outcome != Read::Later {
                break outcome;
            }
            if trickle && upload.exchange.is_open() {
                // A byte now and then is no progress.
                std::thread::sleep(Duration::from_millis(20));
                peer.write_all(b"x").unwrap();
            }
            upload.await_more(&server);
        };
        assert_eq!(outcome, Read::Failed(BodyFault::TimedOut));
        let told = (408, "request body: no progress in 200ms".to_owned());
        assert_eq!(upload.exchange.body_fault(), Some(told));
        answer(&upload.exchange, b"late");
        let mut all = String::new();
        peer.read_to_string(&mut all).unwrap();
        assert!(all.contains("\r\nConnection: Close\r\n"), "{all}");
        server.sink.bodies.lock().clear();
    }
}

#[test]
fn a_reader_that_takes_its_time_is_no_fault_of_the_peer() {
    let server = Running::start(Config {
        times: Times {
            body: Some(Duration::from_millis(100)),
            ..Times::NONE
        },
        ..streaming()
    });
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(1000));
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    // Many times the limit, and more than a round of checks.
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(upload.read(10).1, Read::Later);
    peer.write_all(&body).unwrap();
    upload.await_more(&server);
    assert_eq!(upload.rest(&server, 1000), (body, Read::End));
    answer(&upload.exchange, b"x");
    assert_eq!(read_response(&mut peer), b"x");
}

#[test]
fn a_rest_that_is_dropped_has_a_time_limit_as_well() {
    let server = Running::start(Config {
        times: Times {
            body: Some(Duration::from_millis(200)),
            ..Times::NONE
        },
        ..streaming()
    });
    let mut peer = server.connect();
    let (head, _) = with_length(&bytes(1000));
    peer.write_all(&head).unwrap();
    answer(&Upload::take(&server.server).exchange, b"x");
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    assert_eq!(all.matches("HTTP/1.1").count(), 1, "{all}");
}

#[test]
fn a_reset_is_noticed_while_the_socket_is_not_read() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let (head, _) = post("Content-Length: 8000000", b"");
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    fill(&mut peer, &[b'x'; 64 * 1024]);
    socket2::SockRef::from(&peer)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(peer);
    wait_until("the exchange is over", || !upload.exchange.is_open());
    // What had been received before can be read.
    let (read, outcome) = upload.rest(&server, 100_000);
    assert!(read.len() >= WINDOW, "{} bytes", read.len());
    assert_eq!(outcome, Read::Failed(BodyFault::Early));
}

#[test]
fn a_peers_end_behind_a_full_window_waits_for_the_reader() {
    let server = Running::start(streaming());
    let mut peer = server.connect();
    let body = bytes(600_000);
    let (head, _) = with_length(&body);
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    let sender = {
        let (body, mut peer) = (body.clone(), peer.try_clone().unwrap());
        std::thread::spawn(move || {
            peer.write_all(&body).unwrap();
            peer.shutdown(Shutdown::Write).unwrap();
        })
    };
    // Longer than it takes to notice the end of a peer whose bytes are left in the kernel.
    std::thread::sleep(Duration::from_millis(600));
    let mut there = vec![0; body.len()];
    let Read::Data(n) = upload.exchange.read_body(&mut there) else {
        panic!("nothing has arrived");
    };
    assert!(n < WINDOW + 64 * 1024, "{n} bytes were kept");
    let (rest, outcome) = upload.rest(&server, 10_000);
    assert_eq!(outcome, Read::End);
    let whole = [upload.start(), &there[..n], &rest].concat();
    assert!(whole == body, "{} bytes", whole.len());
    sender.join().unwrap();
    answer(&upload.exchange, b"all");
    assert_eq!(read_response(&mut peer), b"all");
}

fn with_handler_limit(limit: Duration) -> Running {
    Running::start(Config {
        times: Times {
            handler: Some(limit),
            ..Times::NONE
        },
        ..streaming()
    })
}

#[test]
fn a_handler_that_does_not_read_its_body_times_out() {
    let server = with_handler_limit(Duration::from_millis(200));
    // What it leaves unread is all that came, is complete, or is more than is taken; or the last part of it.
    for (arrived, reads) in [(0, false), (1000, false), (60_000, false), (500, true)] {
        let before = server.server.timeouts(Timeout::Handler);
        let mut peer = server.connect();
        let (head, body) = with_length(&bytes(arrived.max(1000)));
        peer.write_all(&head).unwrap();
        let mut upload = Upload::take(&server.server);
        if reads {
            assert_eq!(upload.read(10).1, Read::Later);
        }
        peer.write_all(&body[..arrived]).unwrap();
        if reads {
            upload.await_more(&server);
            // Not all of it: a reader that waits for more is no handler that takes too long.
            let _ = upload.exchange.read_body(&mut [0; 10]);
        }
        assert!(read_head(&mut peer).starts_with("HTTP/1.1 503 "));
        assert_eq!(server.server.timeouts(Timeout::Handler), before + 1);
        assert!(!upload.exchange.is_open());
        let work = server.server.take().into_iter().collect();
        assert_eq!(closings(work), [Event::Closed(0, String::new())]);
    }
}

#[test]
fn a_handler_that_keeps_reading_or_waits_for_its_body_does_not_time_out() {
    let limit = Duration::from_secs(2);
    let server = with_handler_limit(limit);
    let mut peer = server.connect();
    let (head, body) = with_length(&bytes(1000));
    peer.write_all(&head).unwrap();
    let mut upload = Upload::take(&server.server);
    assert_eq!(upload.read(10).1, Read::Later);
    // Longer than the limit and a round of checks.
    std::thread::sleep(limit * 2);
    peer.write_all(&body).unwrap();
    upload.await_more(&server);
    let mut piece = vec![0; 100];
    let mut read = Vec::new();
    for _ in 0..8 {
        std::thread::sleep(limit / 4); // Longer than the limit in all.
        let Read::Data(n) = upload.exchange.read_body(&mut piece) else {
            panic!("no data");
        };
        read.extend_from_slice(&piece[..n]);
    }
    read.extend(upload.rest(&server, 100).0);
    assert_eq!(read, body);
    answer(&upload.exchange, b"x");
    assert_eq!(read_response(&mut peer), b"x");
}
