//! How many connections there may be, in all and of one address.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use httpkit_core::h1::Limits;
use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::server::{Config, Mode, Notice};
use socket2::{Domain, Socket, Type};

use crate::support::{PATIENCE, Running, answer, config, read_head, read_response, wait_until};
use crate::tls_support::Secure;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// Longer than a connection may be silent before it gives way, on an idle machine.
const BEYOND_GRACE: Duration = Duration::from_millis(1500);

fn limited(max_connections: usize) -> Running {
    Running::start(Config {
        max_connections: Some(max_connections),
        ..config(Mode::Pull)
    })
}

fn limited_per_ip(max_per_ip: u32, proxy: ProxyMode) -> Running {
    Running::start(Config {
        max_per_ip: Some(max_per_ip),
        proxy,
        ..config(Mode::Pull)
    })
}

/// A peer that has begun a request, and so is not idle.
fn busy(server: &Running) -> TcpStream {
    let before = server.server.connections();
    let mut peer = server.connect();
    peer.write_all(b"GET").unwrap();
    wait_until("it is in", || server.server.connections() > before);
    peer
}

/// A peer that has connected.
fn silent(server: &Running) -> TcpStream {
    let before = server.server.connections();
    let peer = server.connect();
    wait_until("it is in", || server.server.connections() > before);
    peer
}

/// Whether no request arrives for this long.
fn is_kept_waiting(server: &Running, time: Duration) -> bool {
    std::thread::sleep(time);
    server.server.stats().waiting == 0
}

/// Sends a request, which is served.
fn ask(server: &Running, peer: &mut TcpStream) {
    peer.write_all(GET).unwrap();
    answer(&server.request(), b"hello");
    assert_eq!(read_response(peer), b"hello");
}

fn idle(server: &Running) -> TcpStream {
    let mut peer = server.connect();
    ask(server, &mut peer);
    // More than the clock by which ages are compared is late.
    std::thread::sleep(Duration::from_millis(300));
    peer
}

fn is_silent(peer: &mut TcpStream) -> bool {
    peer.set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let silent = match peer.read(&mut [0]) {
        Ok(n) => panic!("{n} bytes came"),
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    };
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    silent
}

/// Whether the peer's connection is over.
fn is_closed(peer: &mut TcpStream) -> bool {
    match peer.read(&mut [0]) {
        Ok(n) => n == 0,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

fn warnings(server: &Running) -> Vec<String> {
    let notices = server.sink.notices.lock();
    notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Warning(text) => Some(text.clone()),
            _ => None,
        })
        .collect()
}

#[test]
fn without_an_idle_connection_a_new_one_waits_until_another_leaves() {
    let server = limited(2);
    let (first, mut second) = (busy(&server), busy(&server));
    let mut third = server.connect();
    third.write_all(GET).unwrap();
    assert!(is_silent(&mut third));
    assert_eq!(
        warnings(&server),
        ["2 connections (:max-connections): new ones wait"]
    );
    drop(first);
    answer(&server.request(), b"hello");
    assert_eq!(read_response(&mut third), b"hello");
    second.write_all(b" / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    answer(&server.request(), b"hello");
    assert_eq!(read_response(&mut second), b"hello");
}

#[test]
fn the_oldest_idle_connection_gives_way_to_a_new_one() {
    let server = limited(3);
    let (mut oldest, mut younger) = (idle(&server), idle(&server));
    let _busy = busy(&server);
    let mut new = server.connect();
    ask(&server, &mut new);
    assert!(is_closed(&mut oldest));
    assert!(is_silent(&mut younger));
    assert!(warnings(&server).is_empty());
}

#[test]
fn a_connection_that_was_used_again_is_not_the_oldest() {
    let server = limited(10);
    let (mut first, mut second) = (idle(&server), idle(&server));
    ask(&server, &mut first);
    let _busy: Vec<_> = (0..8).map(|_| busy(&server)).collect();
    ask(&server, &mut server.connect());
    assert!(is_closed(&mut second));
    assert!(is_silent(&mut first));
}

#[test]
fn clients_are_asked_to_leave_above_nine_tenths_of_the_limit() {
    let server = limited(10);
    let mut peers: Vec<_> = (0..9).map(|_| server.connect()).collect();
    wait_until("they are in", || server.server.connections() == 9);
    ask(&server, &mut peers[0]);
    assert!(is_silent(&mut peers[0]));
    let _tenth = busy(&server);
    peers[0].write_all(GET).unwrap();
    answer(&server.request(), b"hello");
    let head = read_head(&mut peers[0]);
    assert!(head.contains("Connection: Close\r\n"), "{head}");
    peers[0].read_exact(&mut [0; 5]).unwrap();
    assert!(is_closed(&mut peers[0]));
}

#[test]
fn a_connection_that_has_had_its_last_response_gives_way_though_its_peer_keeps_it() {
    const ROUNDS: usize = 4;
    let server = limited(1);
    let began = Instant::now();
    let mut kept = Vec::new();
    for _ in 0..ROUNDS {
        let mut peer = server.connect();
        ask(&server, &mut peer);
        kept.push(peer);
    }
    // A connection may linger for 5 s.
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn it_does_not_give_way_while_the_kernel_holds_a_part_of_that_response() {
    let server = Running::start(Config {
        max_connections: Some(1),
        unsent: |_| 1,
        ..config(Mode::Pull)
    });
    let mut first = server.connect();
    ask(&server, &mut first);
    let mut second = server.connect();
    second.write_all(GET).unwrap();
    assert!(is_kept_waiting(&server, Duration::from_millis(500)));
    drop(first);
    answer(&server.request(), b"hello");
}

#[test]
fn a_connection_that_never_sent_anything_gives_way_after_a_while() {
    let server = limited(2);
    let mut older = silent(&server);
    std::thread::sleep(Duration::from_millis(300)); // As in `idle`.
    let mut younger = silent(&server);
    let mut new = server.connect();
    new.write_all(GET).unwrap();
    wait_until("it is in", || server.server.stats().waiting == 1);
    answer(&server.request(), b"hello");
    assert!(is_closed(&mut older));
    assert!(is_silent(&mut younger));
}

#[test]
fn idle_connections_give_way_before_those_that_never_sent_anything() {
    let server = limited(3);
    let mut silent = silent(&server);
    std::thread::sleep(BEYOND_GRACE);
    let mut idle = idle(&server);
    let _busy = busy(&server);
    ask(&server, &mut server.connect());
    assert!(is_closed(&mut idle));
    assert!(is_silent(&mut silent));
}

#[test]
fn one_that_has_sent_anything_does_not_give_way() {
    let sent = [
        &b"G"[..],
        b"\r\n",
        b"PROXY",
        b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n",
    ];
    let server = Running::start(Config {
        max_connections: Some(sent.len()),
        proxy: ProxyMode::Optional,
        ..config(Mode::Pull)
    });
    let _peers = sent.map(|bytes| {
        let mut peer = silent(&server);
        peer.write_all(bytes).unwrap();
        peer
    });
    let mut new = server.connect();
    new.write_all(GET).unwrap();
    assert!(is_kept_waiting(&server, BEYOND_GRACE));
}

#[test]
fn on_a_tls_port_one_gives_way_before_its_handshake_but_not_in_it() {
    let server = Secure::start(Config {
        max_connections: Some(2),
        ..config(Mode::Pull)
    });
    let mut begun = server.socket();
    begun.write_all(&[0x16]).unwrap();
    let running = &server.running;
    wait_until("it is in", || running.server.connections() == 1);
    let mut silent = server.socket();
    let mut new = server.connect();
    new.write_all(GET).unwrap();
    answer(&running.request(), b"hello");
    assert_eq!(read_response(&mut new), b"hello");
    assert!(is_closed(&mut silent));
    assert!(is_silent(&mut begun));
}

#[test]
fn a_connection_that_waits_is_served_when_the_server_stops() {
    let server = limited(1);
    let _first = busy(&server);
    let mut second = server.connect();
    second.write_all(GET).unwrap();
    assert!(is_silent(&mut second));
    server.server.drain();
    answer(&server.request(), b"hello");
    assert_eq!(read_response(&mut second), b"hello");
}

#[test]
fn the_limit_holds_with_several_loops_and_many_peers() {
    let mut server = Running::start(Config {
        max_connections: Some(20),
        backlog: 1024,
        ..config(Mode::Pull)
    });
    server.run();
    let mut peers = Vec::new();
    for _ in 0..50 {
        let mut peer = server.connect();
        peer.write_all(b"GET").unwrap();
        peers.push(peer);
    }
    while peers.len() > 20 {
        wait_until("it is full", || server.server.connections() == 20);
        wait_until("others wait", || !warnings(&server).is_empty());
        peers.remove(0);
    }
    drop(peers);
    wait_until("all have left", || server.server.connections() == 0);
    ask(&server, &mut server.connect());
}

/// A peer with this address.
fn from(server: &Running, ip: [u8; 4]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((ip, 0)).into()).unwrap();
    socket.connect(&server.address().into()).unwrap();
    let peer = TcpStream::from(socket);
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer
}

#[test]
fn an_address_may_have_its_connections_and_no_more() {
    let server = limited_per_ip(2, ProxyMode::Disable);
    let (first, mut second) = (server.connect(), server.connect());
    assert!(is_closed(&mut server.connect()));
    assert_eq!((server.server.accepted(), server.server.refused()), (3, 1));
    ask(&server, &mut from(&server, [127, 0, 0, 2]));
    ask(&server, &mut second);
    drop(first);
    wait_until("it has left", || server.server.connections() == 1);
    ask(&server, &mut server.connect());
}

#[test]
fn behind_a_proxy_the_address_that_it_names_counts() {
    let proxied = |server: &Running, ip: &str| {
        let mut peer = server.connect();
        let line = format!("PROXY TCP4 {ip} 192.0.2.9 1 80\r\n");
        peer.write_all(line.as_bytes()).unwrap();
        peer
    };
    for mode in [ProxyMode::Enable, ProxyMode::Optional] {
        let server = limited_per_ip(1, mode);
        let mut first = proxied(&server, "192.0.2.1");
        ask(&server, &mut first);
        ask(&server, &mut proxied(&server, "192.0.2.2"));
        assert!(is_closed(&mut proxied(&server, "192.0.2.1")));
        assert_eq!((server.server.accepted(), server.server.refused()), (3, 1));
        ask(&server, &mut first);
        drop(first);
        wait_until("all have left", || server.server.connections() == 0);
        ask(&server, &mut proxied(&server, "192.0.2.1"));
    }
    let server = limited_per_ip(1, ProxyMode::Optional);
    let mut first = proxied(&server, "192.0.2.1");
    ask(&server, &mut first);
    let mut in_one_write = server.connect();
    in_one_write
        .write_all(
            b"PROXY TCP4 192.0.2.1 192.0.2.9 1 2\r\n\
              POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nabc",
        )
        .unwrap();
    assert!(is_closed(&mut in_one_write));
    assert_eq!(
        server.server.stats().totals.requests,
        1,
        "that of the first"
    );
    let mut direct = server.connect();
    ask(&server, &mut direct);
    let mut second = server.connect();
    second.write_all(GET).unwrap();
    assert!(is_closed(&mut second), "without a header the peer counts");
}

#[test]
fn a_proxy_header_counts_towards_the_limit_of_head_and_trailers() {
    const PROXY: &str = "PROXY TCP4 192.0.2.1 192.0.2.9 1 80\r\n";
    const HEAD: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let server = Running::start(Config {
        proxy: ProxyMode::Optional,
        limits: Limits {
            head: 300,
            head_given: true,
            ..Limits::default()
        },
        ..config(Mode::Pull)
    });
    for proxy in ["", PROXY] {
        for (over, status) in [(0, "200"), (1, "431")] {
            // In one piece, and with the header before the head.
            for together in [true, false] {
                let room = 300 - proxy.len() - HEAD.len();
                let trailer = format!("a: {}\r\n", "x".repeat(room + over - "a: \r\n".len()));
                let request = format!("{HEAD}0\r\n{trailer}\r\n");
                let mut peer = server.connect();
                if together {
                    peer.write_all(format!("{proxy}{request}").as_bytes())
                        .unwrap();
                } else {
                    peer.write_all(proxy.as_bytes()).unwrap();
                    for byte in request.as_bytes() {
                        peer.write_all(&[*byte]).unwrap();
                    }
                }
                if over == 0 {
                    answer(&server.request(), b"ok");
                }
                let head = read_head(&mut peer);
                assert_eq!(&head[9..12], status, "{proxy:?} {over} {together}");
            }
        }
    }
}
