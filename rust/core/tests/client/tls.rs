//! TLS by rustls: what is trusted, what is said when it is not.

use crate::certificates::{Authority, Identity};
use crate::direct::{hold_up, until_received};
use crate::support::*;
use httpkit_core::client::*;
use httpkit_core::net::tls::{TlsContext, TlsMode};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn config(identity: &Identity, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots
                .add(CertificateDer::from(authority.der.clone()))
                .unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let chain = vec![CertificateDer::from(identity.der.clone())];
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

type Names = Arc<Mutex<Vec<Option<String>>>>;

/// A TLS server that answers OK, and the server names that it was asked for.
fn server(config: Arc<ServerConfig>) -> (Server, Names) {
    let names: Names = Arc::default();
    let seen = names.clone();
    let server = Server::new(move |_, stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        while read_request(&mut tls).is_some() {
            let name = tls.conn.server_name().map(str::to_owned);
            seen.lock().unwrap().push(name);
            if tls.write_all(OK).is_err() {
                return;
            }
        }
    });
    (server, names)
}

/// A server whose answer, in one record, arrives in pieces.
fn dripping_server(config: Arc<ServerConfig>, pause: Duration) -> Server {
    Server::new(move |_, stream| {
        let mut session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = rustls::Stream::new(&mut session, stream);
        read_request(&mut tls).unwrap();
        session.writer().write_all(OK).unwrap();
        let mut record = Vec::new();
        while session.wants_write() {
            session.write_tls(&mut record).unwrap();
        }
        for piece in record.chunks(record.len().div_ceil(6)) {
            std::thread::sleep(pause);
            stream.write_all(piece).unwrap();
        }
    })
}

fn https(server: &Server, mode: TlsMode, name: &str) -> CallSpec {
    CallSpec {
        tls: Some(mode),
        tls_name: name.to_owned(),
        host: name.to_owned(),
        ..get(server.address)
    }
}

fn trusting(anchors: &[&[u8]]) -> Running {
    let client = Running::new();
    let anchors = anchors.iter().map(|der| der.to_vec()).collect();
    let context = TlsContext::new(anchors, Vec::new(), Vec::new()).unwrap();
    client.client.set_tls(context);
    client
}

fn handshake_error(message: &str) -> Result<Seen, CallError> {
    Err(CallError::new(ErrorKind::SslHandshake, message.to_owned()))
}

const UNTRUSTED: &str = "PKIX path building failed: \
     sun.security.provider.certpath.SunCertPathBuilderException: \
     unable to find valid certification path to requested target";

/// A peer that has no suite in common with anybody.
fn refusing_server() -> Server {
    Server::new(|_, stream| {
        let mut header = [0; 5];
        stream.read_exact(&mut header).unwrap();
        let length = u16::from_be_bytes([header[3], header[4]]);
        stream.read_exact(&mut vec![0; length.into()]).unwrap();
        let handshake_failure = [0x15, 3, 3, 0, 2, 2, 40];
        stream.write_all(&handshake_failure).unwrap();
        hang(stream);
    })
}

#[test]
fn where_rustls_has_nothing_in_common_the_embedders_tls_takes_over() {
    let server = refusing_server();
    let client = trusting(&[]);
    let spec = https(&server, TlsMode::Verify, "localhost");
    let refused = handshake_error("Received fatal alert: handshake_failure");
    assert_eq!(client.run(spec.clone()), refused);
    assert!(client.log.transports.lock().unwrap().is_empty());

    let call = client.start(CallSpec {
        hosted_tls: true,
        ..spec
    });
    let asked = |want: Asked| {
        let mut transport = 0;
        eventually("the embedder is asked", || {
            let all = client.log.transports.lock().unwrap();
            let found = all.iter().find(|(_, asked)| *asked == want);
            found.inspect(|(id, _)| transport = *id).is_some()
        });
        transport
    };
    let transport = asked(Asked::Open(call));
    client.client.transport_ready(transport);
    asked(Asked::StartTls(call, 0));
    client.client.transport_ready(transport);
    let answer = Bytes::from_static(OK);
    client.client.transport_received(transport, answer);
    assert_eq!(client.result(call).unwrap().text(), "ok");
}

#[test]
fn parts_of_a_record_are_no_silence() {
    let ca = Authority::new();
    let pause = Duration::from_millis(200);
    let server = dripping_server(config(&ca.named(&["localhost"]), None), pause);
    let client = trusting(&[&ca.der]);
    let mut spec = https(&server, TlsMode::Verify, "localhost");
    spec.timeouts.idle = Millis(700);
    assert_eq!(client.run(spec).unwrap().text(), "ok");
}

#[test]
fn a_trusted_chain_with_the_right_name_serves_and_is_reused() {
    let ca = Authority::new();
    let (server, names) = server(config(&ca.named(&["localhost"]), None));
    let client = trusting(&[&ca.der]);
    for nth in 0..3 {
        let seen = client
            .run(https(&server, TlsMode::Verify, "localhost"))
            .unwrap();
        assert!(seen.tls);
        assert_eq!((seen.text().as_str(), seen.reused), ("ok", nth > 0));
    }
    assert_eq!(server.connections(), 1);
    assert_eq!(names.lock().unwrap()[0].as_deref(), Some("localhost"));
}

#[test]
fn a_success_does_not_cut_off_the_request_that_is_being_encrypted() {
    const LENGTH: usize = 20_000_000;
    let ca = Authority::new();
    let config = config(&ca.named(&["localhost"]), None);
    let server = Server::new(move |_, stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        let mut head = vec![0; b"POST / HTTP/1.1\r\n\r\n".len()];
        tls.read_exact(&mut head).unwrap();
        tls.write_all(OK).unwrap();
        tls.read_exact(&mut vec![0; LENGTH]).unwrap();
        while read_request(&mut tls).is_some() {
            tls.write_all(OK).unwrap();
        }
    });
    let client = trusting(&[&ca.der]);
    let spec = https(&server, TlsMode::Verify, "localhost");
    let upload = CallSpec {
        method: Method::Other,
        head: Bytes::from_static(b"POST / HTTP/1.1\r\n\r\n"),
        body: vec![b'x'; LENGTH].into(),
        ..spec.clone()
    };
    assert_eq!(client.run(upload).unwrap().text(), "ok");
    assert!(client.run(spec).unwrap().reused);
}

#[test]
fn an_unknown_chain_is_refused_unless_everything_is_trusted() {
    let (ca, other) = (Authority::new(), Authority::new());
    let (server, names) = server(config(&ca.named(&["localhost"]), None));
    let client = trusting(&[&other.der]);
    for mode in [TlsMode::Verify, TlsMode::VerifyChain] {
        assert_eq!(
            client.run(https(&server, mode, "localhost")),
            handshake_error(UNTRUSTED)
        );
    }
    let insecure = https(&server, TlsMode::TrustAll, "localhost");
    assert_eq!(client.run(insecure).unwrap().status, 200);
    assert_eq!(names.lock().unwrap()[0].as_deref(), Some("localhost"));
    assert_eq!(
        client.run(https(&server, TlsMode::Verify, "localhost")),
        handshake_error(UNTRUSTED)
    );
}

#[test]
fn a_wrong_name_is_refused_in_the_words_of_the_jdk() {
    let ca = Authority::new();
    let client = trusting(&[&ca.der]);
    let no_names = ca.issue(|params| {
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "common.test");
    });
    let dns = ca.named(&["other.test"]);
    let ip = ca.named(&["10.9.8.7"]);
    for (identity, name, message) in [
        (
            &dns,
            "localhost",
            "No subject alternative DNS name matching localhost found.",
        ),
        (
            &dns,
            "127.0.0.1",
            "No subject alternative names matching IP address 127.0.0.1 found",
        ),
        (
            &no_names,
            "127.0.0.1",
            "No subject alternative names present",
        ),
        (&no_names, "localhost", "No name matching localhost found"),
        (&ip, "localhost", "No name matching localhost found"),
    ] {
        let (server, _) = server(config(identity, None));
        assert_eq!(
            client.run(https(&server, TlsMode::Verify, name)),
            handshake_error(message)
        );
        let chain_only = https(&server, TlsMode::VerifyChain, name);
        assert_eq!(client.run(chain_only).unwrap().status, 200);
    }
    let (server, _) = server(config(&no_names, None));
    let common = https(&server, TlsMode::Verify, "common.test");
    assert_eq!(client.run(common).unwrap().status, 200);
}

#[test]
fn addresses_and_wildcards_are_names() {
    let ca = Authority::new();
    let (server, names) = server(config(
        &ca.named(&["127.0.0.1", "::1", "*.wild.test"]),
        None,
    ));
    let client = trusting(&[&ca.der]);
    for name in ["127.0.0.1", "::1", "a.wild.test"] {
        let seen = client.run(https(&server, TlsMode::Verify, name)).unwrap();
        assert_eq!(seen.status, 200, "{name}");
    }
    let want = [None, None, Some("a.wild.test".to_owned())];
    assert_eq!(*names.lock().unwrap(), want);
    let deep = https(&server, TlsMode::Verify, "a.b.wild.test");
    assert!(client.run(deep).is_err());
}

#[test]
fn no_name_is_sent_when_none_is_wanted() {
    let ca = Authority::new();
    let (server, names) = server(config(&ca.named(&["localhost"]), None));
    let client = trusting(&[&ca.der]);
    let mut spec = https(&server, TlsMode::Verify, "localhost");
    spec.sni = false;
    assert_eq!(client.run(spec).unwrap().status, 200);
    assert_eq!(*names.lock().unwrap(), [None]);
}

#[test]
fn a_certificate_that_is_itself_trusted_needs_no_chain() {
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    let identity = Identity {
        der: der.clone(),
        key: key.serialize_der(),
    };
    let (server, _) = server(config(&identity, None));
    let client = trusting(&[&der]);
    let spec = https(&server, TlsMode::Verify, "localhost");
    assert_eq!(client.run(spec.clone()).unwrap().status, 200);
    assert_eq!(trusting(&[]).run(spec), handshake_error(UNTRUSTED));
}

#[test]
fn an_expired_certificate_is_refused() {
    let ca = Authority::new();
    let expired = ca.issue(|params| {
        *params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    });
    let (server, _) = server(config(&expired, None));
    let client = trusting(&[&ca.der]);
    assert_eq!(
        client.run(https(&server, TlsMode::Verify, "localhost")),
        handshake_error(
            "PKIX path validation failed: \
             java.security.cert.CertPathValidatorException: validity check failed"
        )
    );
}

#[test]
fn client_certificates_are_presented() {
    let ca = Authority::new();
    let (server, _) = server(config(&ca.named(&["localhost"]), Some(&ca)));
    let me = ca.named(&["me"]);
    let client = Running::new();
    let context = TlsContext::new(vec![ca.der.clone()], vec![me.der], me.key).unwrap();
    client.client.set_tls(context);
    let spec = https(&server, TlsMode::Verify, "localhost");
    assert_eq!(client.run(spec.clone()).unwrap().status, 200);
    let error = trusting(&[&ca.der]).run(spec).unwrap_err();
    assert_eq!(error.kind, ErrorKind::SslHandshake);
    assert_eq!(error.message, "Received fatal alert: certificate_required");
}

#[test]
fn plaintext_and_hanging_up_are_told_apart() {
    let client = trusting(&[]);
    let plain = Server::new(|_, stream| {
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        hang(stream);
    });
    let error = client
        .run(https(&plain, TlsMode::TrustAll, "localhost"))
        .unwrap_err();
    assert_eq!(
        error,
        CallError::new(
            ErrorKind::Ssl,
            "Unrecognized SSL message, plaintext connection?"
        )
    );
    let silent = Server::new(|_, stream| {
        let mut hello = [0; 4096];
        let _ = stream.read(&mut hello);
    });
    let error = client
        .run(https(&silent, TlsMode::TrustAll, "localhost"))
        .unwrap_err();
    assert_eq!(error.message, "Unexpected EOF before response completed");
}

#[test]
fn a_body_may_end_without_close_notify() {
    let ca = Authority::new();
    let config = config(&ca.named(&["localhost"]), None);
    let server = Server::new(move |_, stream: &mut TcpStream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        read_request(&mut tls);
        tls.write_all(b"HTTP/1.1 200 OK\r\n\r\nbody").unwrap();
        tls.flush().unwrap();
        stream.shutdown(std::net::Shutdown::Both).unwrap();
    });
    let client = trusting(&[&ca.der]);
    let seen = client.run(https(&server, TlsMode::Verify, "localhost"));
    assert_eq!(seen.unwrap().text(), "body");
}

#[test]
fn large_bodies_cross_both_ways() {
    let ca = Authority::new();
    let config = config(&ca.named(&["localhost"]), None);
    let server = Server::new(move |_, stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        while let Some((_, body)) = read_request(&mut tls) {
            let length = body.len();
            write!(tls, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").unwrap();
            tls.write_all(&body).unwrap();
            tls.flush().unwrap();
        }
    });
    let client = trusting(&[&ca.der]);
    let body: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let spec = CallSpec {
        tls: Some(TlsMode::Verify),
        tls_name: "localhost".to_owned(),
        ..post(server.address, body.clone())
    };
    assert!(client.run(spec).unwrap().body == body);
}

#[test]
fn a_dead_idle_connection_is_noticed_through_tls() {
    let ca = Authority::new();
    let config = config(&ca.named(&["localhost"]), None);
    let (is_idle, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let server = Server::new(move |_, stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        read_request(&mut tls);
        tls.write_all(OK).unwrap();
        gate.lock().unwrap().recv().unwrap();
        tls.conn.send_close_notify();
        let _ = tls.flush();
    });
    let client = trusting(&[&ca.der]);
    client
        .run(https(&server, TlsMode::Verify, "localhost"))
        .unwrap();
    client.until_stats("idle", |stats| stats.idle.load(Ordering::Relaxed) == 1);
    is_idle.send(()).unwrap();
    client.until_stats("dropped", |stats| stats.open.load(Ordering::Relaxed) == 0);
}

#[test]
fn what_came_before_a_request_is_not_its_response_through_tls() {
    let ca = Authority::new();
    let strays: [&'static [u8]; 2] = [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray", b""];
    for (stray, method) in strays
        .iter()
        .flat_map(|stray| [(*stray, Method::Get), (*stray, Method::Other)])
    {
        let config = config(&ca.named(&["localhost"]), None);
        let (go, going) = mpsc::channel::<()>();
        let (told, ready) = mpsc::channel();
        let gate = Mutex::new((going, told));
        let server = Server::new(move |nth, stream| {
            let session = ServerConnection::new(config.clone()).unwrap();
            let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
            while read_request(&mut tls).is_some() {
                if tls.write_all(OK).is_err() || nth > 0 {
                    continue;
                }
                let (going, told) = &*gate.lock().unwrap();
                let client = stream.peer_addr().unwrap();
                let _ = going.recv();
                match stray {
                    b"" => tls.conn.send_close_notify(),
                    stray => tls.write_all(stray).unwrap(),
                }
                tls.flush().unwrap();
                told.send(client).unwrap();
            }
        });
        let client = trusting(&[&ca.der]);
        let spec = https(&server, TlsMode::Verify, "localhost");
        client.run(spec.clone()).unwrap();
        client.until_stats("idle", |stats| stats.idle.load(Ordering::Relaxed) == 1);
        let release = hold_up(&client);
        go.send(()).unwrap();
        until_received(ready.recv_timeout(PATIENCE).unwrap());
        let call = client.start(CallSpec { method, ..spec });
        drop(release);
        let seen = client.result(call).unwrap();
        assert_eq!((seen.text().as_str(), seen.reused), ("ok", false));
        assert_eq!(client.client.stats().retries.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn bytes_of_the_handshake_start_the_idle_timeout_anew() {
    let ca = Authority::new();
    let (server, _) = server(config(&ca.named(&["localhost"]), None));
    let target = server.address;
    let dripping = Server::new(move |_, stream| {
        let mut up = TcpStream::connect(target).unwrap();
        let (mut from, mut to) = (stream.try_clone().unwrap(), up.try_clone().unwrap());
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        let mut piece = [0; 100];
        while let Ok(n) = up.read(&mut piece) {
            if n == 0 || stream.write_all(&piece[..n]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(80));
        }
    });
    let client = trusting(&[&ca.der]);
    let mut spec = https(&dripping, TlsMode::Verify, "localhost");
    spec.timeouts.idle = Millis(400);
    let start = std::time::Instant::now();
    assert_eq!(client.run(spec).unwrap().text(), "ok");
    assert!(start.elapsed() > Duration::from_millis(500));
}
