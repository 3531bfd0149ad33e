//! CONNECT and SOCKS5.

use crate::support::*;
use httpkit_core::client::*;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

fn tunnel(proxy: &Server, authorization: &str) -> CallSpec {
    CallSpec {
        route: Route::Tunnel {
            host: "target.test".to_owned(),
            port: 443,
            authorization: authorization.to_owned(),
            tls: None,
        },
        ..get(proxy.address)
    }
}

fn socks(proxy: &Server, host: &str, credentials: Option<(&str, &str)>) -> CallSpec {
    CallSpec {
        route: Route::Socks5 {
            host: host.to_owned(),
            port: 0x1234,
            credentials: credentials.map(|(user, word)| (user.to_owned(), word.to_owned())),
        },
        ..get(proxy.address)
    }
}

fn protocol(message: &str) -> Result<Seen, CallError> {
    Err(CallError::new(ErrorKind::Protocol, message.to_owned()))
}

#[test]
fn connect_opens_a_tunnel_that_is_reused_for_its_target_only() {
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    let proxy = Server::new(move |_, stream| {
        let (head, _) = read_request(stream).unwrap();
        seen.lock().unwrap().push(head);
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\nX: y\r\n\r\n")
            .unwrap();
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    for _ in 0..2 {
        let seen = client.run(tunnel(&proxy, "Basic dTpw")).unwrap();
        assert_eq!(seen.text(), "ok");
    }
    assert_eq!(proxy.connections(), 1);
    assert_eq!(
        heads.lock().unwrap()[0],
        "CONNECT target.test:443 HTTP/1.1\r\nHost: target.test:443\r\n\
         Proxy-Authorization: Basic dTpw\r\n\r\n"
    );
    let mut other = tunnel(&proxy, "");
    if let Route::Tunnel { host, .. } = &mut other.route {
        *host = "::1".to_owned();
    }
    client.run(other).unwrap();
    assert_eq!(proxy.connections(), 2);
    assert!(heads.lock().unwrap()[1].starts_with("CONNECT [::1]:443 HTTP/1.1\r\n"));
}

#[test]
fn a_refused_tunnel_names_its_status_and_rubbish_is_refused() {
    let client = Running::new();
    let answers: [(&'static [u8], &str); 3] = [
        (
            b"HTTP/1.1 407 Who are you\r\nContent-Length: 5\r\n\r\nhello",
            "Proxy refused the tunnel with status 407",
        ),
        (b"SSH-2.0\r\n", "not http protocol? SSH-2.0"),
        (b"", "Unexpected EOF before response completed"),
    ];
    for (answer, message) in answers {
        let proxy = Server::new(move |_, stream| {
            read_request(stream);
            stream.write_all(answer).unwrap();
        });
        assert_eq!(client.run(tunnel(&proxy, "")), protocol(message));
    }
}

#[test]
fn a_silent_proxy_ends_with_the_idle_timeout() {
    let proxy = Server::new(|_, stream| hang(stream));
    let client = Running::new();
    for mut spec in [tunnel(&proxy, ""), socks(&proxy, "h.test", None)] {
        spec.timeouts.idle = Millis(100);
        assert_eq!(client.run(spec).unwrap_err().kind, ErrorKind::Timeout);
    }
}

/// Reads what must come and answers.
fn expect(stream: &mut TcpStream, want: &[u8], answer: &[u8]) {
    let mut got = vec![0; want.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, want);
    stream.write_all(answer).unwrap();
}

#[test]
fn socks_resolves_names_at_the_proxy() {
    let proxy = Server::new(|nth, stream| {
        expect(stream, &[5, 1, 0], &[5, 0]);
        let (want, answer): (Vec<u8>, Vec<u8>) = match nth {
            0 => (
                [&[5, 1, 0, 3, 6][..], b"h.test", &[0x12, 0x34]].concat(),
                vec![5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            ),
            1 => (
                vec![5, 1, 0, 1, 10, 1, 2, 3, 0x12, 0x34],
                [&[5, 0, 0, 4][..], &[0; 18]].concat(),
            ),
            _ => (
                [&[5, 1, 0, 4][..], &[0; 15], &[1, 0x12, 0x34]].concat(),
                [&[5, 0, 0, 3, 2][..], b"ab", &[0; 2]].concat(),
            ),
        };
        expect(stream, &want, &answer);
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    for host in ["h.test", "10.1.2.3", "::1"] {
        let seen = client.run(socks(&proxy, host, None)).unwrap();
        assert_eq!(seen.text(), "ok");
    }
    assert!(client.run(socks(&proxy, "h.test", None)).unwrap().reused);
}

#[test]
fn socks_logs_in_when_asked() {
    let proxy = Server::new(|nth, stream| {
        expect(stream, &[5, 2, 0, 2], &[5, 2]);
        let verdict = u8::from(nth > 0);
        expect(stream, b"\x01\x04user\x06secret", &[1, verdict]);
        if nth > 0 {
            return;
        }
        let want = [&[5, 1, 0, 3, 6][..], b"h.test", &[0x12, 0x34]].concat();
        expect(stream, &want, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        while read_request(stream).is_some() {
            stream.write_all(OK).unwrap();
        }
    });
    let client = Running::new();
    let mut spec = socks(&proxy, "h.test", Some(("user", "secret")));
    assert_eq!(client.run(spec.clone()).unwrap().status, 200);
    spec.timeouts.keepalive = Millis(0);
    assert_eq!(
        client.run(spec),
        protocol("SOCKS5 proxy refused: wrong user or password")
    );
}

#[test]
fn socks_refusals_say_why() {
    let client = Running::new();
    let cases: [(&'static [u8], &'static [u8], &str); 4] = [
        (b"HT", b"", "it does not speak SOCKS5"),
        (&[5, 0xff], b"", "it wants another authentication"),
        (&[5, 0], &[5, 5, 0, 1], "connection refused"),
        (&[5, 0], &[5, 0, 0, 9], "its response is malformed"),
    ];
    for (greeting, reply, reason) in cases {
        let proxy = Server::new(move |_, stream| {
            expect(stream, &[5, 1, 0], greeting);
            stream.write_all(reply).unwrap();
            hang(stream);
        });
        assert_eq!(
            client.run(socks(&proxy, "h.test", None)),
            protocol(&format!("SOCKS5 proxy refused: {reason}"))
        );
    }
    let long = "x".repeat(300);
    let proxy = Server::new(|_, stream| {
        expect(stream, &[5, 1, 0], &[5, 0]);
    });
    assert_eq!(
        client.run(socks(&proxy, &long, None)),
        protocol("SOCKS5 proxy refused: name, user or password is too long")
    );
}
