//! The access log has one record of each request, whatever became of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use httpkit_core::h1::head::METHODS;
use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::server::{
    Config, Ended, INLINE, Interest, Mode, Responded, ResponseHead, Sent, Times,
};

use crate::support::{
    PATIENCE, Running, answer, config, frame, read_head, read_response, reply, wait_until,
    write_timeout,
};
use crate::tls_support::{Secure, VERSIONS};

const GET: &[u8] =
    b"GET /a?b=c HTTP/1.1\r\nHost: example.com\r\nUser-Agent: \"x\"\r\nReferer: http://r/\r\n\r\n";

#[derive(Debug)]
struct Entry {
    method: String,
    target: String,
    status: u16,
    ended: u8,
    received: u64,
    sent: u64,
    peer: Vec<u8>,
    tls: u8,
    took: u64,
    head_took: i64,
    texts: Vec<String>,
}

fn number(record: &[u8], at: usize, size: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes[..size].copy_from_slice(&record[at..at + size]);
    u64::from_le_bytes(bytes)
}

fn entry(record: &[u8]) -> Entry {
    let mut at = 96;
    let mut texts = Vec::new();
    for i in 0..6 {
        let length = number(record, 72 + 4 * i, 4) as usize;
        texts.push(String::from_utf8(record[at..at + length].to_vec()).unwrap());
        at += length;
    }
    assert_eq!(at, record.len());
    let method = METHODS.get(usize::from(record[4]));
    Entry {
        method: method.map_or_else(|| texts[0].clone(), |&name| name.to_owned()),
        target: texts[1].clone(),
        status: number(record, 6, 2) as u16,
        ended: record[8],
        received: number(record, 40, 8),
        sent: number(record, 48, 8),
        peer: record[56..56 + usize::from(record[9])].to_vec(),
        tls: record[12],
        took: number(record, 24, 8),
        head_took: number(record, 32, 8).cast_signed(),
        texts: texts.split_off(2),
    }
}

fn with_log(mode: Mode) -> Config {
    Config {
        access_log: true,
        ..config(mode)
    }
}

fn server() -> Running {
    Running::start(with_log(Mode::Pull))
}

fn entries_of(mut records: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while !records.is_empty() {
        let (record, rest) = records.split_at(number(records, 0, 4) as usize);
        entries.push(entry(record));
        records = rest;
    }
    entries
}

/// The next entries, at least this many.
fn entries(server: &Running, count: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    while all.len() < count {
        wait_until("an exchange is over", || {
            let [added, _] = server.server.stats().logged;
            added as usize >= count
        });
        let (records, n) = server.server.take_access().unwrap();
        let more = entries_of(&records);
        assert_eq!(more.len(), n);
        all.extend(more);
    }
    all
}

fn only(server: &Running) -> Entry {
    let mut all = entries(server, 1);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn send(server: &Running, bytes: &[u8]) -> TcpStream {
    let mut peer = server.connect();
    peer.write_all(bytes).unwrap();
    peer
}

fn gone(server: &Running) {
    wait_until("it is gone", || server.server.connections() == 0);
}

#[test]
fn a_record_has_what_is_known_of_request_and_response() {
    let server = server();
    let mut peer = send(&server, GET);
    let exchange = server.request();
    std::thread::sleep(Duration::from_millis(30));
    answer(&exchange, b"hello");
    assert_eq!(read_response(&mut peer), b"hello");
    let entry = only(&server);
    assert_eq!((&*entry.method, &*entry.target), ("GET", "/a?b=c"));
    assert_eq!((entry.status, entry.ended), (200, Ended::Done as u8));
    assert_eq!((entry.received, entry.sent), (0, 5));
    assert_eq!(entry.peer, [127, 0, 0, 1]);
    assert_eq!(entry.texts, ["example.com", "\"x\"", "http://r/", ""]);
    assert!(
        entry.took >= 30_000 && entry.head_took >= 30_000,
        "{entry:?}"
    );
    assert!(entry.head_took as u64 <= entry.took, "{entry:?}");
}

#[test]
fn bodies_are_counted_without_heads() {
    let server = server();
    let bytes = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nAuthorization: Basic dTpw\r\n\r\n12345";
    let mut peer = send(&server, bytes);
    let streamed = server.request();
    assert_eq!(streamed.stream(&reply(), b"abc"), Sent::Accepted);
    assert_eq!(streamed.end_stream(), Sent::Accepted);
    peer.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    answer(&server.request(), b"hello");
    peer.write_all(GET).unwrap();
    let encoded = b"HTTP/1.1 304 Not Modified\r\nX: y\r\n\r\n";
    server
        .request()
        .respond_encoded(encoded, 0, Interest::default());
    let all = entries(&server, 3);
    let chunks = "3\r\nabc\r\n0\r\n\r\n".len() as u64;
    assert_eq!((all[0].received, all[0].sent), (5, chunks));
    assert_eq!(all[0].texts[3], "dTpw");
    assert_eq!(
        (&*all[1].method, all[1].status, all[1].sent),
        ("HEAD", 200, 0)
    );
    assert_eq!((all[2].status, all[2].sent), (304, 0));
}

#[test]
fn pipelined_requests_have_a_record_each_in_order() {
    let server = server();
    let mut requests = Vec::new();
    for i in 0..100 {
        requests.extend_from_slice(format!("GET /{i} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    }
    let mut peer = send(&server, &requests);
    let mut next = Some(server.request());
    for _ in 0..100 {
        let exchange = next.take().unwrap_or_else(|| server.request());
        let inline = ResponseHead {
            flags: INLINE,
            ..reply()
        };
        if let Responded::Done(Some(request)) = exchange.respond(&inline, b"ok", 2) {
            assert!(request.exchange.bind(7));
            next = Some(request.exchange);
        }
    }
    for _ in 0..100 {
        assert_eq!(read_response(&mut peer), b"ok");
    }
    let all = entries(&server, 100);
    for (i, entry) in all.iter().enumerate() {
        assert_eq!((entry.target.as_str(), entry.sent), (&*format!("/{i}"), 2));
    }
}

#[test]
fn a_response_is_done_only_when_the_kernel_has_all_of_it() {
    const SIZE: usize = 20_000_000;
    let server = server();
    let mut peer = send(&server, GET);
    answer(&server.request(), &vec![b'x'; SIZE]);
    assert_eq!(server.server.stats().logged, [0, 0]);
    assert_eq!(read_response(&mut peer).len(), SIZE);
    let entry = only(&server);
    assert_eq!((entry.ended, entry.sent), (Ended::Done as u8, SIZE as u64));
}

#[test]
fn what_a_peer_did_not_read_is_aborted_and_not_counted_as_sent() {
    const SIZE: usize = 20_000_000;
    let server = server();
    let peer = send(&server, GET);
    answer(&server.request(), &vec![b'x'; SIZE]);
    drop(peer);
    gone(&server);
    let entry = only(&server);
    assert_eq!((entry.status, entry.ended), (200, Ended::Aborted as u8));
    assert!((1..SIZE as u64).contains(&entry.sent), "{entry:?}");
}

#[test]
fn a_request_whose_peer_left_before_the_response_has_no_status() {
    let server = server();
    let peer = send(&server, GET);
    let exchange = server.request();
    assert!(exchange.watch_peer());
    drop(peer);
    gone(&server);
    let entry = only(&server);
    assert_eq!((entry.status, entry.ended), (0, Ended::Aborted as u8));
    assert_eq!((entry.head_took, entry.sent), (-1, 0));
}

#[test]
fn nor_has_one_whose_connection_was_ended_instead() {
    let server = server();
    let _peer = send(&server, b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(server.request().end_stream(), Sent::Accepted);
    let entry = only(&server);
    assert_eq!((entry.status, entry.ended), (0, Ended::Aborted as u8));
}

#[test]
fn what_breaks_a_rule_is_recorded_with_its_first_line_or_as_the_request_that_it_is() {
    let config = Config {
        proxy: ProxyMode::Optional,
        ..with_log(Mode::Pull)
    };
    let server = Running::start(config);
    let body = b"POST /body HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    for (bytes, status, target) in [
        (&b"nonsense\r\n\r\n"[..], 400, "nonsense"),
        (
            b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/9\r\n\r\n",
            400,
            "GET / HTTP/9",
        ),
        (
            b"GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: x\r\n\r\n",
            400,
            "GET /x HTTP/1.1",
        ),
        (body, 400, "/body"),
    ] {
        let mut peer = send(&server, bytes);
        let mut response = String::new();
        peer.read_to_string(&mut response).unwrap();
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{response}"
        );
        let entry = only(&server);
        assert_eq!((entry.status, &*entry.target), (status, target));
        assert_eq!(entry.ended, Ended::Done as u8);
        let content = response.split_once("\r\n\r\n").unwrap().1.len();
        assert_eq!(entry.sent, content as u64, "{response}");
        let proxied = bytes.starts_with(b"PROXY");
        assert_eq!(
            entry.peer,
            if proxied {
                [10, 0, 0, 1]
            } else {
                [127, 0, 0, 1]
            }
        );
        gone(&server);
    }
    let totals = server.server.stats().totals;
    assert_eq!(totals.requests, server.server.stats().logged[0]);
}

#[test]
fn a_request_whose_body_is_too_long_is_recorded_like_others() {
    let mut config = with_log(Mode::Pull);
    config.limits.body = 10;
    let server = Running::start(config);
    for framing in [
        "Content-Length: 11\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nb\r\n",
    ] {
        let bytes = format!("POST /x?y HTTP/1.1\r\nHost: h\r\nUser-Agent: me\r\n{framing}");
        let mut peer = send(&server, bytes.as_bytes());
        assert!(read_head(&mut peer).starts_with("HTTP/1.1 413"));
        drop(peer);
        gone(&server);
        let entry = only(&server);
        assert_eq!((&*entry.method, &*entry.target), ("POST", "/x?y"));
        assert_eq!((entry.status, &*entry.texts[1]), (413, "me"));
        assert_eq!((&*entry.texts[0], entry.received), ("h", 0));
    }
}

#[test]
fn time_limits_are_told_apart_from_peers_that_leave() {
    let times = Times {
        header: Some(Duration::from_millis(100)),
        body: Some(Duration::from_millis(100)),
        handler: Some(Duration::from_millis(100)),
        ..Times::NONE
    };
    let server = Running::start(Config {
        times,
        ..with_log(Mode::Pull)
    });
    for (bytes, status, target) in [
        (&b"GET /part"[..], 408, "GET /part"),
        (
            b"POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123",
            408,
            "/p",
        ),
        (GET, 503, "/a?b=c"),
    ] {
        let mut peer = send(&server, bytes);
        let mut response = String::new();
        peer.read_to_string(&mut response).unwrap();
        let entry = only(&server);
        assert_eq!((entry.status, &*entry.target), (status, target));
        assert_eq!(entry.ended, Ended::TimedOut as u8, "{entry:?}");
    }
    let silent = server.connect();
    gone(&server);
    drop(silent);
    assert_eq!(
        server.server.stats().logged,
        [3, 0],
        "no request, no record"
    );
}

#[test]
fn a_peer_that_does_not_read_ends_its_exchange_by_a_time_limit() {
    let server = Running::start(Config {
        times: write_timeout(Duration::from_millis(200)),
        ..with_log(Mode::Pull)
    });
    let peer = send(&server, GET);
    answer(&server.request(), &vec![b'x'; 20_000_000]);
    gone(&server);
    drop(peer);
    assert_eq!(only(&server).ended, Ended::TimedOut as u8);
}

#[test]
fn a_websocket_has_one_record_when_it_ends() {
    let server = server();
    let (mut peer, exchange) = server.websocket(None);
    peer.write_all(&frame(1, b"hi")).unwrap();
    assert_eq!(
        exchange.send_frame(httpkit_core::ws::Opcode::Text, b"abc", 0, usize::MAX),
        Sent::Accepted
    );
    let mut received = [0; 5];
    peer.read_exact(&mut received).unwrap();
    assert_eq!(server.server.stats().logged, [0, 0]);
    let close = frame(8, &1000_u16.to_be_bytes());
    peer.write_all(&close).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    let entry = only(&server);
    assert_eq!((entry.status, entry.ended), (101, Ended::Done as u8));
    assert_eq!(entry.received, (frame(1, b"hi").len() + close.len()) as u64);
    assert_eq!(entry.sent, (received.len() + rest.len()) as u64);
}

#[test]
fn a_websocket_whose_peer_disappears_is_aborted() {
    let server = server();
    let (peer, _exchange) = server.websocket(None);
    drop(peer);
    gone(&server);
    assert_eq!(only(&server).ended, Ended::Aborted as u8);
}

/// The next entry, once there are more than `before`.
fn only_after(server: &Running, before: u64) -> Entry {
    wait_until("it is over", || server.server.stats().logged[0] > before);
    let (records, count) = server.server.take_access().unwrap();
    assert_eq!(count, 1);
    entry(&records)
}

#[test]
fn a_body_that_is_streamed_to_the_handler_counts_as_it_arrives() {
    let server = Running::start(Config {
        request_buffer: Some(4),
        ..with_log(Mode::Pull)
    });
    let head = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123";
    let mut peer = send(&server, head);
    let exchange = server.request();
    peer.write_all(b"4567").unwrap();
    let mut body = Vec::new();
    let mut piece = [0; 16];
    wait_until("it arrives", || {
        if let httpkit_core::server::Read::Data(n) = exchange.read_body(&mut piece) {
            body.extend_from_slice(&piece[..n]);
        }
        body == b"4567"
    });
    drop(peer);
    gone(&server);
    let entry = only(&server);
    assert_eq!((entry.received, entry.ended), (7, Ended::Aborted as u8));
}

#[test]
fn a_request_whose_peer_leaves_within_its_body_is_recorded_and_counted() {
    let first = &b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\n123"[..];
    let chunked = b"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n";
    for (bytes, how) in [
        (first, Shutdown::Both),
        (first, Shutdown::Write),
        (chunked, Shutdown::Write),
    ] {
        let server = server();
        let peer = send(&server, bytes);
        wait_until("it has arrived", || server.server.stats().buffered == 3);
        peer.shutdown(how).unwrap();
        gone(&server);
        let entry = only(&server);
        assert_eq!((&*entry.method, &*entry.target), ("POST", "/a"));
        assert_eq!((entry.status, entry.ended), (0, Ended::Aborted as u8));
        assert_eq!((entry.received, entry.sent), (3, 0));
        assert_eq!(server.server.stats().totals.requests, 1);
    }
}

#[test]
fn a_body_whose_connection_is_cut_by_a_stop_is_recorded_and_counted() {
    let server = server();
    let _peer = send(
        &server,
        b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n123",
    );
    wait_until("it has arrived", || server.server.stats().buffered == 3);
    assert_eq!(server.server.close(), 1);
    let entry = only(&server);
    assert_eq!((entry.status, entry.received), (0, 3));
    assert_eq!(server.server.stats().totals.requests, 1);
}

#[test]
fn a_pipelined_body_that_was_to_be_read_as_it_arrives_is_recorded_if_its_peer_has_left() {
    let server = Running::start(Config {
        request_buffer: Some(4),
        ..with_log(Mode::Pull)
    });
    let post = b"POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n123";
    let mut peer = send(&server, &[GET, &post[..]].concat());
    let exchange = server.request();
    server.end(&peer);
    answer(&exchange, b"ok");
    assert_eq!(read_response(&mut peer), b"ok");
    gone(&server);
    let all = entries(&server, 2);
    assert_eq!((all[0].status, all[1].status), (200, 0), "{all:?}");
    assert_eq!((&*all[1].target, all[1].received), ("/b", 3));
    assert_eq!(server.server.stats().totals.requests, 2);
}

#[test]
fn a_connection_that_ends_before_a_head_is_complete_has_no_record() {
    let server = server();
    for bytes in [&b""[..], b"GET /half", b"GET / HTTP/1.1\r\nHost: h\r\n"] {
        drop(send(&server, bytes));
        gone(&server);
    }
    let stats = server.server.stats();
    assert_eq!((stats.logged, stats.totals.requests), ([0, 0], 0));
}

#[test]
fn requests_through_tls_have_its_version_and_plain_ones_there_are_recorded_too() {
    let secure = Secure::start(with_log(Mode::Pull));
    let server = &secure.running;
    let mut peer = secure.connect();
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"secret");
    assert_eq!(read_response(&mut peer), b"secret");
    let entry = only(server);
    assert_eq!((entry.tls, entry.sent), (3, 6));
    let mut plain = secure.socket();
    plain.write_all(GET).unwrap();
    assert!(read_head(&mut plain).starts_with("HTTP/1.1 400"));
    let entry = only_after(server, 1);
    assert_eq!(
        (entry.tls, entry.status, &*entry.target),
        (0, 400, "/a?b=c")
    );
    assert_eq!(server.server.stats().totals.requests, 2);
}

#[test]
fn a_head_that_does_not_end_gets_408_and_its_record_on_a_port_that_redirects_too() {
    let secure = Secure::redirecting(Config {
        times: Times {
            header: Some(Duration::from_millis(300)),
            ..Times::NONE
        },
        proxy: ProxyMode::Optional,
        ..with_log(Mode::Pull)
    });
    let server = &secure.running;
    for (bytes, line) in [
        (&b"GET / HTTP/1.1\r\nHos"[..], "GET / HTTP/1.1"),
        (b"PROXY UNKNOWN\r\nG", "G"),
        (b"PROXY UNKN", "PROXY UNKN"),
    ] {
        let mut peer = send(server, bytes);
        assert!(read_head(&mut peer).starts_with("HTTP/1.1 408 "));
        let entry = only(server);
        assert_eq!((entry.status, &*entry.target), (408, line));
        assert_eq!(entry.ended, Ended::TimedOut as u8, "{entry:?}");
    }
    for silent in [&b""[..], b"PROXY UNKNOWN\r\n"] {
        let mut peer = send(server, silent);
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty(), "{rest:?}");
    }
    assert_eq!(server.server.stats().logged, [3, 0]);
}

#[test]
fn a_request_that_is_cut_by_a_broken_record_has_the_version_of_its_tls() {
    for (version, number) in VERSIONS.into_iter().zip([3, 2]) {
        let secure = Secure::start(with_log(Mode::Pull));
        let server = &secure.running;
        let mut peer = secure.connect_with(Arc::new(secure.client(&[version])));
        peer.write_all(b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nab")
            .unwrap();
        peer.sock.write_all(&[0; 100]).unwrap();
        peer.sock.shutdown(Shutdown::Write).unwrap();
        let entry = only(server);
        assert_eq!((&*entry.target, entry.received), ("/a", 2));
        assert_eq!(entry.tls, number);
    }
}

#[test]
fn a_pipeline_whose_responses_are_not_read_keeps_few_records() {
    let server = server();
    let long = "x".repeat(8000);
    let request = format!("GET / HTTP/1.1\r\nHost: h\r\nReferer: {long}\r\n\r\n");
    let mut peer = server.connect();
    peer.set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let mut writer = peer.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        // Until neither side takes anything more.
        while writer.write_all(request.as_bytes()).is_ok() {}
    });
    let mut responded = 0;
    while !sending.is_finished() {
        if server.server.stats().waiting > 0 {
            answer(&server.request(), &[b'y'; 1000]);
            responded += 1;
        }
    }
    assert!(responded > 100, "{responded}");
    drop(sending);
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let [logged, _] = server.server.stats().logged;
    assert!(
        responded - logged < 64,
        "{responded} responses, {logged} records"
    );
    assert_eq!(read_response(&mut peer).len(), 1000);
}

#[test]
fn without_an_access_log_there_is_none() {
    let server = Running::start(config(Mode::Pull));
    assert!(server.server.take_access().is_none());
}

#[test]
fn the_records_of_a_stopped_server_can_be_taken_to_the_end() {
    let mut server = server();
    let peer = send(&server, GET);
    let _exchange = server.request();
    server.stop();
    server.server.close_access();
    drop(peer);
    let (records, count) = server.server.take_access().unwrap();
    assert_eq!((count, entry(&records).ended), (1, Ended::Aborted as u8));
    assert!(server.server.take_access().is_none());
}
