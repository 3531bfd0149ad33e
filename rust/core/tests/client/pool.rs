//! Which connection serves which call.

use crate::support::*;
use httpkit_core::client::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

fn eof() -> CallError {
    CallError::new(
        ErrorKind::Protocol,
        "Unexpected EOF before response completed",
    )
}

#[test]
fn three_calls_use_one_connection() {
    let (server, client) = (Server::answering(OK), Running::new());
    for nth in 0..3 {
        let seen = client.run(get(server.address)).unwrap();
        assert_eq!((seen.status, seen.text().as_str()), (200, "ok"));
        assert_eq!(seen.reused, nth > 0);
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn parallel_calls_use_their_own_connections() {
    let all_have_arrived = Barrier::new(4);
    let server = Server::new(move |_, stream| {
        while read_request(stream).is_some() {
            all_have_arrived.wait();
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    let calls: Vec<CallId> = (0..4).map(|_| client.start(get(server.address))).collect();
    for call in calls {
        assert_eq!(client.result(call).unwrap().status, 200);
    }
    assert_eq!(server.connections(), 4);
}

#[test]
fn keepalive_of_zero_or_less_neither_takes_nor_leaves_a_connection() {
    for keepalive in [0, -1] {
        let (server, client) = (Server::answering(OK), Running::new());
        client.run(get(server.address)).unwrap();
        let mut spec = get(server.address);
        spec.timeouts.keepalive = Millis(keepalive);
        client.run(spec.clone()).unwrap();
        client.run(spec).unwrap();
        assert_eq!(server.connections(), 3);
        assert!(client.run(get(server.address)).unwrap().reused);
    }
}

#[test]
fn only_the_right_responses_leave_their_connection_open() {
    let close: [&'static [u8]; 8] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x , CLOSE\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokXX",
        b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    ];
    let keep: [&'static [u8]; 7] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: timeout=0, max=1\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 205 Reset Content\r\nTransfer-Encoding: chunked\r\n\r\n",
    ];
    let cases = close.map(|answer| (answer, 2)).into_iter();
    for (answer, connections) in cases.chain(keep.map(|answer| (answer, 1))) {
        let (server, client) = (Server::answering(answer), Running::new());
        client.run(get(server.address)).unwrap();
        client.run(get(server.address)).unwrap();
        let text = String::from_utf8_lossy(answer);
        assert_eq!(server.connections(), connections, "{text}");
    }
}

#[test]
fn a_request_that_asks_for_the_end_of_its_connection_is_the_last_one() {
    for (field, connections) in [
        ("Connection: close", 2),
        ("connection:keep-alive, Close", 2),
        ("Connection: closed", 1),
        ("X: y\r\nConnections: close", 1),
    ] {
        let (server, client) = (Server::answering(OK), Running::new());
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
        let asking = CallSpec {
            head: head.into(),
            ..get(server.address)
        };
        client.run(asking).unwrap();
        client.run(get(server.address)).unwrap();
        assert_eq!(server.connections(), connections, "{field}");
    }
}

#[test]
fn head_reuses_its_connection_and_has_no_body() {
    let server = Server::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let client = Running::new();
    for _ in 0..2 {
        let mut spec = get(server.address);
        spec.method = Method::Head;
        assert_eq!(client.run(spec).unwrap().body, b"");
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn the_key_holds_host_spelling_policy_and_route() {
    let (server, client) = (Server::answering(OK), Running::new());
    let plain = get(server.address);
    let host = CallSpec {
        host: "LOCALHOST".to_owned(),
        ..plain.clone()
    };
    let policy = CallSpec {
        policy: 1,
        ..plain.clone()
    };
    for spec in [&plain, &host, &policy, &plain, &host, &policy] {
        client.run(spec.clone()).unwrap();
    }
    assert_eq!(server.connections(), 3);
}

#[test]
fn the_connection_nearest_to_its_expiry_is_taken_first() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    // Three calls at a time, so that none takes the connection of another.
    let all_have_arrived = Barrier::new(3);
    let server = Server::new(move |nth, stream| {
        while read_request(stream).is_some() {
            seen.lock().unwrap().push(nth);
            all_have_arrived.wait();
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    let mut calls = Vec::new();
    for keepalive in [90_000, 30_000, 60_000] {
        let mut spec = get(server.address);
        spec.timeouts.keepalive = Millis(keepalive);
        calls.push(client.start(spec));
        eventually("the next one connects", || {
            server.connections() == calls.len()
        });
    }
    for call in calls {
        client.result(call).unwrap();
    }
    client.until_stats("three idle ones", |s| s.idle.load(Ordering::Relaxed) == 3);
    let calls: Vec<CallId> = (0..3)
        .map(|nth| {
            let call = client.start(get(server.address));
            eventually("it arrives", || order.lock().unwrap().len() == 4 + nth);
            call
        })
        .collect();
    for call in calls {
        client.result(call).unwrap();
    }
    assert_eq!(order.lock().unwrap()[3..], [1, 2, 0]);
}

#[test]
fn an_expired_connection_is_closed() {
    let (server, client) = (Server::answering(OK), Running::new());
    let mut spec = get(server.address);
    spec.timeouts.keepalive = Millis(50);
    client.run(spec).unwrap();
    client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
    client.run(get(server.address)).unwrap();
    assert_eq!(server.connections(), 2);
}

#[test]
fn an_idle_connection_that_closes_or_speaks_is_dropped() {
    for stray in [&b""[..], b"x"] {
        let (is_idle, gate) = mpsc::channel();
        let gate = Mutex::new(gate);
        let server = Server::new(move |nth, stream| {
            while read_request(stream).is_some() {
                stream.write_all(OK).unwrap();
                if nth == 0 {
                    gate.lock().unwrap().recv().unwrap();
                    stream.write_all(stray).unwrap();
                    if stray.is_empty() {
                        return;
                    }
                }
            }
        });
        let client = Running::new();
        client.run(get(server.address)).unwrap();
        client.until_stats("idle", |s| s.idle.load(Ordering::Relaxed) == 1);
        is_idle.send(()).unwrap();
        client.until_stats("dropped", |s| s.open.load(Ordering::Relaxed) == 0);
        assert_eq!(client.run(post(server.address, "x")).unwrap().status, 200);
        assert_eq!(server.connections(), 2);
    }
}

/// The first connection answers once and dies at its second request.
fn stale_server(last_words: &'static [u8], with_reset: bool) -> Server {
    Server::new(move |nth, stream| {
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
            if nth == 0 {
                read_request(stream);
                stream.write_all(last_words).unwrap();
                std::thread::sleep(Duration::from_millis(20));
                if with_reset {
                    reset(stream);
                }
                return;
            }
        }
    })
}

#[test]
fn get_and_head_leave_a_stale_connection_for_a_fresh_one() {
    for (last_words, with_reset) in [(&b""[..], false), (b"", true), (b"HT", false)] {
        for method in [Method::Get, Method::Head] {
            let (server, client) = (stale_server(last_words, with_reset), Running::new());
            client.run(get(server.address)).unwrap();
            let mut spec = get(server.address);
            spec.method = method;
            assert_eq!(client.run(spec).unwrap().status, 200);
            assert_eq!(server.connections(), 2);
            assert_eq!(client.client.stats().retries.load(Ordering::Relaxed), 1);
        }
    }
}

#[test]
fn a_repeated_call_keeps_its_place_at_the_limit() {
    let (told, requests) = mpsc::channel();
    let told = Mutex::new(told);
    let go = Arc::new(Barrier::new(2));
    let gate = go.clone();
    let server = Server::new(move |nth, stream| {
        let mut left = if nth == 0 { 1 } else { usize::MAX };
        while let Some((head, _)) = read_request(stream) {
            told.lock().unwrap().send(path(&head)).unwrap();
            if left == 0 {
                gate.wait();
                return;
            }
            left -= 1;
            stream.write_all(OK).unwrap();
        }
    });
    let client = limited(1);
    let call = |number| client.start(get_numbered(server.address, number));
    client.result(call(0)).unwrap();
    let calls = [call(1), call(2)];
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    go.wait();
    for call in calls {
        assert_eq!(client.result(call).unwrap().status, 200);
    }
    let order: Vec<String> = requests.try_iter().collect();
    assert_eq!(order, ["/0", "/1", "/1", "/2"]);
}

#[test]
fn other_methods_fail_on_a_stale_connection() {
    let (server, client) = (stale_server(b"", false), Running::new());
    client.run(get(server.address)).unwrap();
    assert_eq!(client.run(post(server.address, "x")), Err(eof()));
    assert_eq!(server.connections(), 1);
}

#[test]
fn after_a_status_line_nothing_is_repeated() {
    let (server, client) = (stale_server(b"HTTP/1.1 200 OK\r\n", false), Running::new());
    client.run(get(server.address)).unwrap();
    assert_eq!(client.run(get(server.address)), Err(eof()));
}

#[test]
fn a_fresh_connection_is_never_repeated() {
    let server = Server::new(|_, stream| {
        read_request(stream);
    });
    let client = Running::new();
    assert_eq!(client.run(get(server.address)), Err(eof()));
    assert_eq!(server.connections(), 1);
}

fn limited(total: usize) -> Running {
    Running::with(ClientConfig {
        max_connections: Some(total),
        ..ClientConfig::default()
    })
}

#[test]
fn at_the_limit_calls_wait_in_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let server = Server::new(move |_, stream| {
        while let Some((_, body)) = read_request(stream) {
            seen.lock().unwrap().push(body);
            std::thread::sleep(Duration::from_millis(10));
            stream.write_all(OK).unwrap();
        }
    });
    let client = limited(1);
    let calls: Vec<CallId> = (0..5)
        .map(|nth| client.start(post(server.address, format!("{nth}"))))
        .collect();
    for call in calls {
        assert_eq!(client.result(call).unwrap().status, 200);
    }
    assert_eq!(server.connections(), 1);
    let order: Vec<String> = order
        .lock()
        .unwrap()
        .iter()
        .map(|body| String::from_utf8_lossy(body).into_owned())
        .collect();
    assert_eq!(order, ["0", "1", "2", "3", "4"]);
}

#[test]
fn at_the_limit_the_idle_connection_nearest_to_its_expiry_makes_room() {
    let (one, two, three) = (
        Server::answering(OK),
        Server::answering(OK),
        Server::answering(OK),
    );
    let client = limited(2);
    let mut soon = get(two.address);
    soon.timeouts.keepalive = Millis(60_000);
    client.run(get(one.address)).unwrap();
    client.run(soon).unwrap();
    client.run(get(three.address)).unwrap();
    assert!(client.run(get(one.address)).unwrap().reused);
    client.run(get(two.address)).unwrap();
    assert_eq!(two.connections(), 2);
    client.until_stats("two at most", |s| s.open.load(Ordering::Relaxed) == 2);
}

#[test]
fn the_limit_per_host_does_not_stop_other_hosts() {
    let slow = Server::new(|_, stream| hang(stream));
    let fast = Server::answering(OK);
    let client = Running::with(ClientConfig {
        max_per_host: Some(1),
        ..ClientConfig::default()
    });
    let first = client.start(get(slow.address));
    eventually("connected", || slow.connections() == 1);
    let second = client.start(get(slow.address));
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    assert_eq!(client.run(get(fast.address)).unwrap().status, 200);
    client.client.cancel(first);
    assert_eq!(client.result(first).unwrap_err().kind, ErrorKind::Cancelled);
    eventually("the second one connects", || slow.connections() == 2);
    client.client.cancel(second);
    assert_eq!(
        client.result(second).unwrap_err().kind,
        ErrorKind::Cancelled
    );
}

#[test]
fn the_limit_per_host_counts_all_addresses_of_a_host() {
    let slow = Server::new(|_, stream| hang(stream));
    let client = Running::with(ClientConfig {
        max_per_host: Some(1),
        ..ClientConfig::default()
    });
    let elsewhere = |server: &Server| {
        let mut address = server.address;
        address.set_ip([127, 0, 0, 2].into());
        CallSpec {
            addresses: vec![Address::Inet(address)],
            ..get(server.address)
        }
    };
    let first = client.start(get(slow.address));
    eventually("connected", || slow.connections() == 1);
    let second = client.start(elsewhere(&slow));
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    client.client.cancel(second);
    client.client.cancel(first);
    let fast = Server::answering(OK);
    client.run(get(fast.address)).unwrap();
    // Nothing listens there: the idle connection to the other address gave way.
    let error = client.run(elsewhere(&fast)).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Connect, "{error:?}");
    client.until_stats("closed", |s| s.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn a_queued_call_whose_source_fails_ends() {
    let slow = Server::new(|_, stream| hang(stream));
    let client = limited(1);
    client.start(get(slow.address));
    let call = client.start(CallSpec {
        upload: Upload::Chunked,
        ..get(slow.address)
    });
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    client.client.send_failed(call);
    let error = client.result(call).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SourceFailed, "{error:?}");
}

#[test]
fn a_full_backlog_of_one_host_does_not_delay_another() {
    let full = full_backlog();
    let healthy = Server::answering(OK);
    let client = Running::new();
    let stuck: Vec<CallId> = (0..5)
        .map(|_| client.start(get(full.1.local_addr().unwrap())))
        .collect();
    let start = Instant::now();
    assert_eq!(client.run(get(healthy.address)).unwrap().status, 200);
    assert!(start.elapsed() < Duration::from_secs(2));
    for call in stuck {
        client.client.cancel(call);
        client.result(call).unwrap_err();
    }
}

/// A listener whose queue is full: further connects hang.
fn full_backlog() -> (Vec<std::net::TcpStream>, TcpListener) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket
        .bind(
            &"127.0.0.1:0"
                .parse::<std::net::SocketAddr>()
                .unwrap()
                .into(),
        )
        .unwrap();
    socket.listen(0).unwrap();
    let listener: TcpListener = socket.into();
    let address = listener.local_addr().unwrap();
    let mut fillers = Vec::new();
    while let Ok(filler) =
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(200))
    {
        fillers.push(filler);
    }
    (fillers, listener)
}

#[test]
fn all_addresses_are_tried() {
    let dead = TcpListener::bind("127.0.0.1:0").unwrap();
    let dead_address = dead.local_addr().unwrap();
    drop(dead);
    let server = Server::answering(OK);
    let client = Running::new();
    let mut spec = get(dead_address);
    spec.addresses.push(Address::Inet(server.address));
    assert_eq!(client.run(spec).unwrap().status, 200);
    let mut spec = get(dead_address);
    spec.host = "other".to_owned();
    spec.addresses.push(Address::Inet(dead_address));
    assert_eq!(
        client.run(spec),
        Err(CallError::new(ErrorKind::Connect, "Connection refused"))
    );
}

/// Connections from here to `port` that are not established yet; `None` where the system does not tell.
fn connecting_to(port: u16) -> Option<usize> {
    let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
    let port = format!(":{port:04X}");
    let syn_sent = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[2].ends_with(&port) && fields[3] == "02"
    };
    Some(sockets.lines().filter(syn_sent).count())
}

#[test]
fn all_attempts_at_a_connection_are_closed_before_their_call_ends() {
    let (full, server) = (full_backlog(), Server::answering(OK));
    let stuck = full.1.local_addr().unwrap();
    for last in [stuck, server.address] {
        let client = Running::new();
        let (sent, left) = mpsc::channel();
        *client.log.first.lock().unwrap() = Some(Box::new(move || {
            sent.send(connecting_to(stuck.port())).unwrap();
        }));
        let mut spec = get(stuck);
        spec.addresses = [stuck, stuck, last].map(Address::Inet).into();
        spec.timeouts.connect = Millis(60_000);
        let call = client.start(spec);
        if last == stuck {
            eventually("several at a time", || {
                connecting_to(stuck.port()).is_none_or(|count| count > 1)
            });
            client.client.cancel(call);
        }
        assert_eq!(client.result(call).is_ok(), last == server.address);
        let left = left.recv().unwrap();
        assert_eq!(left.unwrap_or(0), 0, "to {last}");
    }
}

#[test]
fn a_bind_address_is_the_peer_that_the_server_sees() {
    let server = Server::new(|_, stream| {
        read_request(stream);
        let peer = stream.peer_addr().unwrap().ip().to_string();
        let length = peer.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{peer}"
        )
        .unwrap();
    });
    let client = Running::with(ClientConfig {
        bind: Some(Address::Inet("127.0.0.3:0".parse().unwrap())),
        ..ClientConfig::default()
    });
    assert_eq!(client.run(get(server.address)).unwrap().text(), "127.0.0.3");
}

#[test]
fn any_local_address_is_one_of_the_peers_family() {
    for (any, peer) in [("0.0.0.0:0", "[::1]:0"), ("[::]:0", "127.0.0.1:0")] {
        let listener = TcpListener::bind(peer).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(OK).unwrap();
        });
        let client = Running::with(ClientConfig {
            bind: Some(Address::Inet(any.parse().unwrap())),
            ..ClientConfig::default()
        });
        assert_eq!(client.run(get(address)).unwrap().text(), "ok", "{any}");
    }
}

#[test]
fn a_unix_socket_serves_and_is_reused() {
    let dir = std::env::temp_dir().join(format!("httpkit-uds-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let path = dir.join("s");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        while read_request(&mut stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    let spec = CallSpec {
        addresses: vec![Address::Unix(path)],
        ..get("127.0.0.1:1".parse().unwrap())
    };
    for _ in 0..2 {
        assert_eq!(client.run(spec.clone()).unwrap().status, 200);
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn stop_fails_active_and_queued_calls_and_closes_all() {
    let (sent, closed) = mpsc::channel();
    let server = Server::new(move |_, stream| {
        hang(stream);
        let _ = sent.send(());
    });
    let mut client = limited(1);
    let active = client.start(get(server.address));
    let queued = client.start(get(server.address));
    client.until_stats("queued", |s| s.queued.load(Ordering::Relaxed) == 1);
    client.stop();
    let stopped = CallError::new(ErrorKind::Stopped, "HTTP client is stopped");
    assert_eq!(client.result(active), Err(stopped.clone()));
    assert_eq!(client.result(queued), Err(stopped));
    closed.recv_timeout(PATIENCE).unwrap();
    assert!(!client.client.call(1 << 40, Box::new(get(server.address))));
    assert_eq!(client.client.stats().open.load(Ordering::Relaxed), 0);
    assert_eq!(client.client.stats().active.load(Ordering::Relaxed), 0);
}

#[test]
fn cancel_closes_the_connection() {
    let (sent, closed) = mpsc::channel();
    let server = Server::new(move |_, stream| {
        hang(stream);
        sent.send(()).unwrap();
    });
    let client = Running::new();
    let call = client.start(get(server.address));
    eventually("connected", || server.connections() == 1);
    client.client.cancel(call);
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Cancelled);
    closed.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn an_early_response_reaches_the_caller_while_it_still_writes() {
    let server = Server::new(|_, stream| {
        let mut head = [0; 20];
        stream.read_exact(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        std::thread::sleep(Duration::from_secs(2));
    });
    let client = Running::new();
    let body = vec![b'x'; 20_000_000];
    let start = Instant::now();
    assert_eq!(client.run(post(server.address, body)).unwrap().status, 413);
    assert!(start.elapsed() < Duration::from_secs(2));
    client.until_stats("not kept", |s| s.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn refused_and_reset_are_told_apart() {
    let server = Server::new(|_, stream| {
        read_request(stream);
        reset(stream);
    });
    let client = Running::new();
    assert_eq!(
        client.run(get(server.address)),
        Err(CallError::new(ErrorKind::Socket, "Connection reset"))
    );
}

#[test]
fn thousands_of_calls_leave_nothing_behind() {
    let (server, client) = (Server::answering(OK), limited(8));
    let calls: Vec<CallId> = (0..3000)
        .map(|_| client.start(get(server.address)))
        .collect();
    for call in calls {
        assert_eq!(client.result(call).unwrap().status, 200);
    }
    let stats = client.client.stats();
    assert!(server.connections() <= 8);
    assert_eq!(stats.active.load(Ordering::Relaxed), 0);
    assert_eq!(stats.buffered.load(Ordering::Relaxed), 0);
}
