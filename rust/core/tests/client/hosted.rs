//! Hosted transports: the test plays the embedder.

use crate::support::*;
use bytes::Bytes;
use httpkit_core::client::*;
use httpkit_core::net::hosted::{READ_WINDOW, TransportId, WRITE_WINDOW};
use httpkit_core::net::tls::TlsMode;
use std::sync::atomic::Ordering;

fn hosted() -> CallSpec {
    CallSpec {
        hosted: true,
        addresses: Vec::new(),
        ..get("127.0.0.1:1".parse().unwrap())
    }
}

/// Waits for the nth thing that was asked of transports.
fn asked(client: &Running, nth: usize) -> (TransportId, Asked) {
    eventually("the transport is asked", || {
        client.log.transports.lock().unwrap().len() > nth
    });
    client.log.transports.lock().unwrap()[nth].clone()
}

fn written(client: &Running, transport: TransportId) -> Vec<u8> {
    let asked = client.log.transports.lock().unwrap();
    let writes = asked.iter().filter_map(|one| match one {
        (id, Asked::Write(data)) if *id == transport => Some(&data[..]),
        _ => None,
    });
    writes.collect::<Vec<_>>().concat()
}

fn open(client: &Running) -> (CallId, TransportId) {
    let call = client.start(hosted());
    let (transport, first) = asked(client, 0);
    assert_eq!(first, Asked::Open(call));
    client.client.transport_ready(transport);
    assert_eq!(asked(client, 1).1, Asked::ReadCredit(READ_WINDOW));
    (call, transport)
}

#[test]
fn bytes_are_exchanged_and_the_transport_is_reused() {
    let client = Running::new();
    let (call, transport) = open(&client);
    let want = hosted().head;
    eventually("written", || written(&client, transport) == want);
    client.client.transport_written(transport, want.len());
    for byte in OK {
        let byte = Bytes::copy_from_slice(&[*byte]);
        client.client.transport_received(transport, byte);
    }
    assert_eq!(client.result(call).unwrap().text(), "ok");
    let call = client.start(hosted());
    let twice = [&want[..], &want[..]].concat();
    eventually("written again", || written(&client, transport) == twice);
    let answer = Bytes::from_static(OK);
    client.client.transport_received(transport, answer);
    assert!(client.result(call).unwrap().reused);
    assert_eq!(client.client.stats().hosted.load(Ordering::Relaxed), 1);
}

#[test]
fn a_failed_transport_is_closed_before_its_call_fails() {
    let client = Running::new();
    for ready in [false, true] {
        client.log.transports.lock().unwrap().clear();
        let (call, transport) = match ready {
            true => open(&client),
            false => {
                let call = client.start(hosted());
                (call, asked(&client, 0).0)
            }
        };
        client.client.transport_failed(transport);
        let failure = client.until(call, |said| said.last().cloned());
        let Said::Failure(error, Some(named)) = failure else {
            panic!("{failure:?}");
        };
        assert_eq!((error.kind, named), (ErrorKind::Hosted, transport));
        let asked = client.log.transports.lock().unwrap();
        assert_eq!(asked.last(), Some(&(transport, Asked::Close)));
    }
}

fn tunnel() -> CallSpec {
    CallSpec {
        tls: Some(TlsMode::Verify),
        tls_name: "target.test".to_owned(),
        route: Route::Tunnel {
            host: "target.test".to_owned(),
            port: 443,
            authorization: String::new(),
            tls: None,
        },
        ..hosted()
    }
}

/// The proxy answers CONNECT, with `more` behind that, and TLS is started.
fn until_tls_starts(client: &Running, more: &[u8]) -> (CallId, TransportId) {
    let call = client.start(tunnel());
    let (transport, _) = asked(client, 0);
    client.client.transport_ready(transport);
    eventually("CONNECT is written", || {
        written(client, transport).starts_with(b"CONNECT target.test:443 ")
    });
    let answer = [&b"HTTP/1.1 200 OK\r\n\r\n"[..], more].concat();
    client.client.transport_received(transport, answer.into());
    let start = Asked::StartTls(call, 0);
    eventually("TLS is started", || {
        let asked = client.log.transports.lock().unwrap();
        asked.contains(&(transport, start.clone()))
    });
    (call, transport)
}

#[test]
fn tls_is_started_by_the_core_once_the_tunnel_stands() {
    let client = Running::new();
    let (call, transport) = until_tls_starts(&client, b"");
    client.client.transport_ready(transport);
    eventually("the request is written", || {
        written(&client, transport).ends_with(&hosted().head)
    });
    let answer = Bytes::from_static(OK);
    client.client.transport_received(transport, answer);
    assert_eq!(client.result(call).unwrap().text(), "ok");
}

/// A proxy could forge responses of the server whose certificate is verified later.
#[test]
fn what_comes_through_a_tunnel_before_tls_is_no_response() {
    for (with_the_answer, later) in [(OK, &b""[..]), (b"", OK), (b"H", b"TTP/1.1 ")] {
        let client = Running::new();
        let (call, transport) = until_tls_starts(&client, with_the_answer);
        if !later.is_empty() {
            client.client.transport_received(transport, later.into());
        }
        client.client.transport_ready(transport);
        let error = client.result(call).unwrap_err();
        assert_eq!(error.kind, ErrorKind::SslHandshake, "{error:?}");
        assert!(!written(&client, transport).ends_with(&hosted().head));
    }
}

#[test]
fn writes_wait_for_acknowledgement_and_credit_is_given_back() {
    let client = Running::new();
    let body = vec![b'x'; 1_000_000];
    let mut spec = post("127.0.0.1:1".parse().unwrap(), body);
    spec.hosted = true;
    let total = spec.head.len() + spec.body.len();
    let call = client.start(spec);
    let (transport, _) = asked(&client, 0);
    client.client.transport_ready(transport);
    let mut acknowledged = 0;
    while acknowledged < total {
        let sent = (total - acknowledged).min(WRITE_WINDOW);
        eventually("a window is written", || {
            written(&client, transport).len() == acknowledged + sent
        });
        client.client.transport_written(transport, sent);
        acknowledged += sent;
    }
    let head = Bytes::from_static(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
    client.client.transport_received(transport, head);
    let mut credit = READ_WINDOW;
    let mut seen = 2;
    let mut left = 200_000;
    while left > 0 {
        let n = credit.min(left);
        credit -= n;
        left -= n;
        let data = Bytes::from(vec![b'y'; n]);
        client.client.transport_received(transport, data);
        eventually("credit comes back", || {
            let asked = client.log.transports.lock().unwrap();
            for (_, one) in &asked[seen..] {
                if let Asked::ReadCredit(n) = one {
                    credit += n;
                }
            }
            seen = asked.len();
            credit > 0 || left == 0
        });
    }
    assert_eq!(client.result(call).unwrap().body.len(), 200_000);
}

#[test]
fn the_end_of_the_peer_ends_the_response() {
    let client = Running::new();
    let (call, transport) = open(&client);
    let answer = Bytes::from_static(b"HTTP/1.1 200 OK\r\n\r\nbody");
    client.client.transport_received(transport, answer);
    client.client.transport_eof(transport);
    assert_eq!(client.result(call).unwrap().text(), "body");
    assert_eq!(
        client.log.transports.lock().unwrap().last(),
        Some(&(transport, Asked::Close))
    );
}

#[test]
fn a_transport_that_never_answers_ends_with_the_connect_timeout() {
    let client = Running::new();
    let mut spec = hosted();
    spec.timeouts.connect = Millis(50);
    let error = client.run(spec).unwrap_err();
    assert_eq!(error.message, "connect timeout: 50ms");
    assert_eq!(asked(&client, 1).1, Asked::Close);
}

#[test]
fn a_stop_closes_transports_before_it_fails_calls() {
    let mut client = Running::new();
    let (call, transport) = open(&client);
    client.stop();
    assert_eq!(client.result(call).unwrap_err().kind, ErrorKind::Stopped);
    let asked = client.log.transports.lock().unwrap();
    assert_eq!(asked.last(), Some(&(transport, Asked::Close)));
}
