//! What is not TLS on a TLS port, and plain requests that are redirected.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::server::{Config, Mode, Work};

use crate::support::{Running, answer, config, read_response, wait_until};
use crate::tls_support::Secure;

const GET: &[u8] = b"GET /a?b=c HTTP/1.1\r\nHost: h.test:8443\r\n\r\n";

fn all(mut peer: TcpStream) -> String {
    let mut all = String::new();
    peer.read_to_string(&mut all).unwrap();
    all
}

#[test]
fn a_plain_request_on_the_tls_port_is_told_where_to_go() {
    let server = Secure::start(config(Mode::Pull));
    for (request, text) in [
        (GET, ": use https://h.test:8443/a?b=c"),
        (
            b"GET http://x:80/y HTTP/1.1\r\nHost: h.test\r\n\r\n",
            ": use https://x:80/y",
        ),
        (
            b"GET http://b?x=/y HTTP/1.1\r\nHost: a\r\n\r\n",
            ": use https://b/?x=/y",
        ),
        (b"GET http://b HTTP/1.0\r\n\r\n", ": use https://b/"),
        (
            b"OPTIONS * HTTP/1.1\r\nHost: [::1]:443\r\n\r\n",
            ": use https://[::1]/",
        ),
        (
            b"GET ?x=1?y HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://h/?x=1?y",
        ),
        // What no URL may have raw.
        (
            b"GET /a#b?c#d HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://h/a%23b?c%23d",
        ),
        (
            b"GET http://b#c HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://b/%23c",
        ),
        (
            b"GET /\xc3\xa9\xff\"<>[\\]^`{|} HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://h/%C3%A9%FF%22%3C%3E%5B%5C%5D%5E%60%7B%7C%7D",
        ),
        (
            b"GET /%c3%A9%4%zz%25% HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://h/%c3%A9%254%25zz%25%25",
        ),
        (
            b"GET /-._~!$&'()*+,;=:@/A9?/? HTTP/1.1\r\nHost: h\r\n\r\n",
            ": use https://h/-._~!$&'()*+,;=:@/A9?/?",
        ),
        (b"GET / HTTP/1.0\r\n\r\n", ""),
        // A name that no URL may have.
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", ""),
        (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", ""),
        (b"GET / HTTP/1.1\r\nHost: a:b:80\r\n\r\n", ""),
        (b"GET http://::1/ HTTP/1.1\r\nHost: h\r\n\r\n", ""),
        (b"QUIT\r\n", ""),
    ] {
        let mut peer = server.socket();
        peer.write_all(request).unwrap();
        let all = all(peer);
        assert!(all.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{all}");
        assert!(all.contains("\r\nConnection: Close\r\n"), "{all}");
        let body = all.split_once("\r\n\r\n").unwrap().1;
        assert_eq!(body, format!("This port speaks HTTPS{text}"));
    }
    let mut peer = server.socket();
    peer.write_all(b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert!(all(peer).ends_with("\r\n\r\n"), "no body after HEAD");
}

#[test]
fn a_port_that_only_redirects_does_not_say_that_it_speaks_https() {
    let server = Secure::redirecting(config(Mode::Pull));
    let mut peer = server.running.connect();
    peer.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let all = all(peer);
    assert!(all.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{all}");
    let text = "\r\n\r\nThis port redirects to HTTPS";
    assert!(all.ends_with(text), "{all}");
}

#[test]
fn a_plain_request_may_come_byte_by_byte_and_may_have_a_body_that_is_never_read() {
    let server = Secure::start(config(Mode::Pull));
    let mut peer = server.socket();
    for byte in GET {
        peer.write_all(&[*byte]).unwrap();
    }
    assert!(all(peer).contains("https://h.test:8443/a?b=c"));
    let mut peer = server.socket();
    peer.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
        .unwrap();
    peer.write_all(&vec![b'x'; 1_000_000]).unwrap();
    assert!(all(peer).contains("https://h/"));
}

#[test]
fn at_most_eight_kibibytes_of_a_plain_request_are_read() {
    let server = Secure::start(config(Mode::Pull));
    let of = |len: usize| {
        let mut head = b"GET /long HTTP/1.1\r\nHost: h\r\n".to_vec();
        while head.len() + 32 < len {
            head.extend_from_slice(b"A-field: its value\r\n");
        }
        head.extend_from_slice(b"A: ");
        head.resize(len - 4, b'x');
        [&head[..], b"\r\n\r\n"].concat()
    };
    for (len, is_read) in [(8192, true), (8193, false)] {
        let mut peer = server.socket();
        // Without its last byte the longer one is as long as the limit.
        for byte in &of(len)[..8192] {
            peer.write_all(&[*byte]).unwrap();
        }
        let all = all(peer);
        assert!(all.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{all}");
        assert_eq!(all.contains("https://h/long"), is_read, "{all}");
    }
}

#[test]
fn anything_else_on_the_tls_port_is_closed() {
    let server = Secure::start(config(Mode::Pull));
    for first in [0, 0x15, 0x17, 0x80, b'\r', b'g', b' ', 0xff] {
        let mut peer = server.socket();
        peer.write_all(&[first, 1, 2, 3]).unwrap();
        let mut rest = Vec::new();
        // What it has sent and was not read may make it a reset.
        let _ = peer.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{first}: {rest:?}");
    }
    let silent = server.socket();
    silent.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(silent), "");
    wait_until("all are gone", || server.running.server.connections() == 0);
}

#[test]
fn with_redirects_plain_requests_on_both_ports_go_to_https() {
    let server = Secure::redirecting(config(Mode::Pull));
    let port = server.port;
    let mut on_tls = server.socket();
    on_tls.write_all(GET).unwrap();
    let mut on_plain = server.running.connect();
    on_plain.write_all(GET).unwrap();
    for (peer, url) in [
        (on_tls, "https://h.test:8443/a?b=c".to_owned()),
        (on_plain, format!("https://h.test:{port}/a?b=c")),
    ] {
        let all = all(peer);
        assert!(
            all.starts_with("HTTP/1.1 308 Permanent Redirect\r\n"),
            "{all}"
        );
        assert!(all.contains(&format!("\r\nLocation: {url}\r\n")), "{all}");
    }
    // The target's authority comes before Host.
    for peer in [server.socket(), server.running.connect()] {
        let on_tls = peer.peer_addr().unwrap().port() == port;
        let mut peer = peer;
        peer.write_all(b"GET http://b.test:99/x HTTP/1.1\r\nHost: a.test\r\n\r\n")
            .unwrap();
        let url = format!("https://b.test:{}/x", if on_tls { 99 } else { port });
        let all = all(peer);
        assert!(all.contains(&format!("\r\nLocation: {url}\r\n")), "{all}");
    }
    // TLS is not spoken on the plain port, and is on the other.
    let mut wrong = server.running.connect();
    wrong.write_all(&[0x16, 3, 1, 0, 1, 0]).unwrap();
    let mut rest = Vec::new();
    let _ = wrong.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{rest:?}");
    let mut peer = server.connect();
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"secure");
    assert_eq!(read_response(&mut peer), b"secure");
}

/// The response to `bytes`, without its date, which may come in between.
fn response(mut peer: TcpStream, bytes: &[u8]) -> String {
    peer.write_all(bytes).unwrap();
    let all = all(peer);
    let lines = all.split_inclusive("\r\n");
    lines.filter(|line| !line.starts_with("Date: ")).collect()
}

#[test]
fn a_port_that_redirects_refuses_what_a_plain_port_refuses_in_the_same_way() {
    let of = |proxy| Config {
        proxy,
        ..config(Mode::Pull)
    };
    let long = [b"GET /", &[b'x'; 100_000][..]].concat();
    let large = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000000\r\n\r\n";
    for (mode, refused) in [
        (
            ProxyMode::Disable,
            &[
                &b"get / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
                b"G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
                b"GET / HTTP/1.1\r\n\r\n",
                b"GET / HTTP/3.0\r\n",
                b"HEAD / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
                b"\r\n\r\n",
                b"\xff\0\n",
                &long,
                large,
            ][..],
        ),
        (
            ProxyMode::Enable,
            &[GET, b"PROXY TCP4 10.1.2.3\r\nGET", b"\r\nGET", b"\x16\x03"],
        ),
        (
            ProxyMode::Optional,
            &[
                b"PROXY TCP4 10.1.2.3\r\nGET",
                b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0",
                b"PROXY UNKNOWN\r\nget / HTTP/1.1\r\n\r\n",
            ],
        ),
    ] {
        let redirecting = Secure::redirecting(of(mode));
        let plain = Running::start(of(mode));
        for bytes in refused {
            let expected = response(plain.connect(), bytes);
            assert!(expected.starts_with("HTTP/1.1 4"), "{expected}");
            assert_eq!(response(redirecting.running.connect(), bytes), expected);
        }
        let total = |server: &Running| server.server.stats().totals.requests;
        assert_eq!(total(&redirecting.running), total(&plain));
    }
}

#[test]
fn one_empty_line_before_a_request_does_not_keep_it_from_being_redirected() {
    for proxy in [ProxyMode::Disable, ProxyMode::Optional] {
        let server = Secure::redirecting(Config {
            proxy,
            ..config(Mode::Pull)
        });
        let request = [b"\r\n", GET].concat();
        for step in [1, 3, request.len()] {
            let mut peer = server.running.connect();
            for piece in request.chunks(step) {
                peer.write_all(piece).unwrap();
            }
            let all = all(peer);
            assert!(all.starts_with("HTTP/1.1 308 "), "{all}");
        }
    }
}

/// The request block's flags and peer port.
fn next_block(server: &Secure) -> (u8, u16) {
    let Some(Work::Request(request)) = server.running.server.take() else {
        panic!("no request");
    };
    let exchange = request.exchange.clone();
    let block = request.into_block(7);
    assert!(exchange.bind(7));
    answer(&exchange, b"ok");
    (block[10], u16::from_le_bytes([block[12], block[13]]))
}

#[test]
fn a_proxy_header_comes_before_tls_however_it_is_cut() {
    let server = Secure::start(Config {
        proxy: ProxyMode::Enable,
        ..config(Mode::Pull)
    });
    let header = b"PROXY TCP4 10.1.2.3 10.4.5.6 1234 443\r\n";
    for step in [1, 5, header.len()] {
        let mut peer = server.connect();
        for piece in header.chunks(step) {
            peer.sock.write_all(piece).unwrap();
        }
        peer.write_all(GET).unwrap();
        assert_eq!(next_block(&server), (1 | 16 | 32, 1234));
        assert_eq!(read_response(&mut peer), b"ok");
    }
    // Without one, it is refused.
    let mut peer = server.connect();
    assert!(
        peer.write_all(GET)
            .and_then(|()| peer.read(&mut [0]))
            .is_err()
    );
}

/// A PROXY header of version 2. Bit 0 of `client` says that the client came through TLS.
fn balanced(client: u8) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14".to_vec();
    header.extend([10, 1, 2, 3, 10, 4, 5, 6, 4, 0xd2, 0, 80]);
    header.extend([0x20, 0, 5, client, 0, 0, 0, 0]);
    header
}

#[test]
fn a_request_that_came_to_the_balancer_through_tls_is_marked() {
    let server = Secure::start(Config {
        proxy: ProxyMode::Optional,
        ..config(Mode::Pull)
    });
    let mut peer = server.running.connect();
    let header = balanced(1);
    peer.write_all(&header).unwrap();
    peer.write_all(GET).unwrap();
    assert_eq!(next_block(&server), (1 | 16 | 32, 1234));
    assert_eq!(read_response(&mut peer), b"ok");
}

#[test]
fn a_request_that_came_to_the_balancer_through_tls_is_not_redirected_to_it() {
    let server = Secure::redirecting(Config {
        proxy: ProxyMode::Optional,
        ..config(Mode::Pull)
    });
    for step in [1, 7, 1000] {
        let mut peer = server.running.connect();
        let first = [&balanced(1)[..], GET, GET].concat();
        for piece in first.chunks(step) {
            peer.write_all(piece).unwrap();
        }
        peer.write_all(GET).unwrap();
        for _ in 0..3 {
            assert_eq!(next_block(&server), (1 | 16 | 32, 1234));
            assert_eq!(read_response(&mut peer), b"ok");
        }
    }
    // What did not is, and on the TLS port nothing else is served.
    for (mut peer, client, status) in [
        (server.running.connect(), 0, "308"),
        (server.socket(), 0, "308"),
        (server.socket(), 1, "400"),
    ] {
        peer.write_all(&balanced(client)).unwrap();
        peer.write_all(GET).unwrap();
        let all = all(peer);
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{all}");
    }
}
