//! Which certificate a client gets, whose certificates are accepted, and how the material is replaced.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use httpkit_core::net::tls_server::{ClientAuth, Identity, TlsMaterial, TlsServer};
use httpkit_core::server::{Exchange, Mode, Notice};
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    date_time_ymd,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::certificates::{self, Authority};
use crate::support::{answer, config, read_response, wait_until};
use crate::tls_support::{Peer, Secure, VERSIONS, client_with, identity, material};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Accepts every certificate, and can verify only some signatures.
#[derive(Debug)]
struct Curious(Vec<SignatureScheme>);

impl ServerCertVerifier for Curious {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

fn all_schemes() -> Vec<SignatureScheme> {
    ring::default_provider()
        .signature_verification_algorithms
        .supported_schemes()
}

fn rsa_schemes() -> Vec<SignatureScheme> {
    vec![
        SignatureScheme::RSA_PSS_SHA256,
        SignatureScheme::RSA_PKCS1_SHA256,
    ]
}

fn curious(
    version: &'static SupportedProtocolVersion,
    schemes: Vec<SignatureScheme>,
) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Curious(schemes)))
        .with_no_client_auth()
}

/// One exchange.
fn ask(server: &Secure, peer: &mut Peer) -> Exchange {
    peer.write_all(GET).unwrap();
    let exchange = server.running.request();
    let seen = exchange.clone();
    answer(&exchange, b"ok");
    assert_eq!(read_response(peer), b"ok");
    seen
}

/// Why the server does not serve a client.
pub fn refusal(peer: &mut Peer) -> String {
    let refused = peer.write_all(GET).and_then(|()| peer.read(&mut [0]));
    refused.expect_err("it is refused").to_string()
}

pub fn rsa() -> KeyPair {
    KeyPair::from_pem(include_str!("keys/rsa2048.pem")).unwrap()
}

#[test]
fn the_certificate_is_chosen_by_name_and_by_what_the_client_can_verify() {
    let authority = Authority::new();
    let ed25519 = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
    let identities = [
        authority.named(&["First.test", "more.test"]),
        authority.named(&["*.wild.test"]),
        authority.named_for(&rsa(), &["both.test"]),
        authority.named_for(&p384, &["both.test"]),
        authority.named_for(&ed25519, &["ed.test"]),
        authority.named(&["exact.wild.test"]),
    ]
    .map(identity);
    let leaves: Vec<_> = identities.iter().map(|i| i.chain[0].clone()).collect();
    let material = TlsMaterial {
        identities: identities.to_vec(),
        ..material(&authority)
    };
    let server = Secure::with(config(Mode::Pull), authority, material);
    let (all, rsa) = (all_schemes(), rsa_schemes());
    for version in VERSIONS {
        for (name, schemes, expected) in [
            ("first.test", &all, 0),
            ("FIRST.TEST", &all, 0),
            ("more.test", &all, 0),
            ("a.wild.test", &all, 1),
            ("A.WILD.test", &all, 1),
            ("exact.wild.test", &all, 5),
            ("a.b.wild.test", &all, 0),
            ("wild.test", &all, 0),
            ("both.test", &all, 3),
            ("both.test", &rsa, 2),
            ("ed.test", &all, 4),
            ("unknown.test", &all, 0),
            // It can verify nothing of the one that it asks for, or of the first.
            ("more.test", &rsa, 2),
            ("127.0.0.1", &all, 0),
        ] {
            let client = curious(version, schemes.clone());
            let mut peer = server.connect_to(name, Arc::new(client));
            let exchange = ask(&server, &mut peer);
            let leaf = peer.conn.peer_certificates().unwrap()[0].to_vec();
            let got = leaves.iter().position(|other| *other == leaf);
            assert_eq!(got, Some(expected), "{name} {version:?} {schemes:?}");
            drop(exchange);
        }
    }
}

#[test]
fn clients_certificates_are_checked_as_the_server_is_told() {
    let authority = Authority::new();
    let others = Authority::called("another authority");
    let usage = |usage: ExtendedKeyUsagePurpose| {
        move |params: &mut rcgen::CertificateParams| {
            params.extended_key_usages = vec![usage];
        }
    };
    let for_clients = || usage(ExtendedKeyUsagePurpose::ClientAuth);
    for auth in [ClientAuth::None, ClientAuth::Want, ClientAuth::Need] {
        let material = TlsMaterial {
            anchors: vec![authority.der.clone()],
            client_auth: auth,
            ..material(&authority)
        };
        let server = Secure::with(config(Mode::Pull), Authority::new(), material);
        let cases: [(&str, Option<certificates::Identity>, bool); 6] = [
            ("none", None, auth != ClientAuth::Need),
            ("valid", Some(authority.issue(for_clients())), true),
            ("of another CA", Some(others.issue(for_clients())), false),
            (
                "expired",
                Some(authority.issue(|params| {
                    params.not_before = date_time_ymd(2000, 1, 1);
                    params.not_after = date_time_ymd(2001, 1, 1);
                })),
                false,
            ),
            (
                "not for clients",
                Some(authority.issue(usage(ExtendedKeyUsagePurpose::ServerAuth))),
                false,
            ),
            (
                "a CA's",
                Some(authority.issue(|params| {
                    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
                })),
                false,
            ),
        ];
        for (what, own, accepted) in cases {
            for version in VERSIONS {
                let own = own.as_ref().map(|own| certificates::Identity {
                    der: own.der.clone(),
                    key: own.key.clone(),
                });
                let shown = own.as_ref().map(|own| own.der.clone());
                let client = match own {
                    None => trusting(&authority, version),
                    Some(own) => client_with(&authority, own, &[version]),
                };
                let mut peer = server.connect_with(Arc::new(client));
                if !accepted && auth != ClientAuth::None {
                    let why = refusal(&mut peer);
                    assert!(why.contains("alert"), "{auth:?}, {what}: {why}");
                    continue;
                }
                peer.write_all(GET).unwrap();
                let exchange = server.running.request();
                let chain = exchange.tls().unwrap().peer_chain;
                let expected = shown.filter(|_| auth != ClientAuth::None);
                assert_eq!(chain, Vec::from_iter(expected), "{auth:?}, {what}");
                answer(&exchange, b"ok");
                assert_eq!(read_response(&mut peer), b"ok");
            }
        }
    }
}

fn trusting(authority: &Authority, version: &'static SupportedProtocolVersion) -> ClientConfig {
    crate::tls_support::client_builder(authority, &[version]).with_no_client_auth()
}

#[test]
fn a_client_that_offers_other_protocols_only_is_refused_and_one_that_offers_none_is_served() {
    let server = Secure::start(config(Mode::Pull));
    for version in VERSIONS {
        for (offered, agreed) in [
            (&["h2", "http/1.1"][..], Some(&b"http/1.1"[..])),
            (&[], None),
        ] {
            let mut client = server.client(&[version]);
            client.alpn_protocols = offered.iter().map(|p| p.as_bytes().to_vec()).collect();
            let mut peer = server.connect_with(Arc::new(client));
            ask(&server, &mut peer);
            assert_eq!(peer.conn.alpn_protocol(), agreed);
        }
        let mut client = server.client(&[version]);
        client.alpn_protocols = vec![b"h2".to_vec()];
        let why = refusal(&mut server.connect_with(Arc::new(client)));
        assert!(why.contains("NoApplicationProtocol"), "{why}");
    }
    wait_until("both refusals are reported", || {
        let notices = server.running.sink.notices.lock();
        let failed = notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Handshake(_)));
        failed.count() == 2
    });
}

#[test]
fn only_the_versions_that_are_allowed_are_spoken() {
    for (tls12, tls13) in [(true, false), (false, true)] {
        let authority = Authority::new();
        let material = TlsMaterial {
            tls12,
            tls13,
            ..material(&authority)
        };
        let server = Secure::with(config(Mode::Pull), authority, material);
        for (version, allowed) in VERSIONS.into_iter().zip([tls13, tls12]) {
            let mut peer = server.connect_with(Arc::new(server.client(&[version])));
            if allowed {
                ask(&server, &mut peer);
            } else {
                let why = refusal(&mut peer);
                assert!(why.contains("alert"), "{why}");
            }
        }
    }
}

#[test]
fn new_material_is_for_new_connections_and_sessions_are_resumed_across_it() {
    let server = Secure::start(config(Mode::Pull));
    let tls = server.running.server.tls();
    let client = Arc::new(server.client(&VERSIONS));
    let mut old = server.connect_with(client.clone());
    ask(&server, &mut old);
    let leaf = |peer: &Peer| peer.conn.peer_certificates().unwrap()[0].to_vec();
    let next = material(&server.authority);
    let expected = next.identities[0].chain[0].clone();
    tls.set(next.clone()).unwrap();

    ask(&server, &mut old);
    assert_ne!(leaf(&old), expected);
    let mut resumed = server.connect_with(client.clone());
    ask(&server, &mut resumed);
    assert_eq!(resumed.conn.handshake_kind(), Some(HandshakeKind::Resumed));
    let mut fresh = server.connect();
    ask(&server, &mut fresh);
    assert_eq!(leaf(&fresh), expected);

    // What cannot be used changes nothing.
    let wrong = TlsMaterial {
        identities: vec![],
        ..next.clone()
    };
    assert_eq!(tls.set(wrong).unwrap_err(), "no identity");
    let mut fresh = server.connect();
    ask(&server, &mut fresh);
    assert_eq!(leaf(&fresh), expected);

    // A session from before does not vouch for a client under other rules.
    tls.set(TlsMaterial {
        anchors: vec![server.authority.der.clone()],
        client_auth: ClientAuth::Need,
        ..next
    })
    .unwrap();
    let why = refusal(&mut server.connect_with(client));
    assert!(why.contains("CertificateRequired"), "{why}");
}

#[test]
fn no_connection_fails_while_the_material_is_replaced() {
    let server = Secure::start(config(Mode::Pull));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let next = material(&server.authority);
                server.running.server.tls().set(next).unwrap();
            }
        });
        for _ in 0..300 {
            ask(&server, &mut server.connect());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let failed = &server.running.server.tls().handshakes.failed;
    assert_eq!(failed.load(Ordering::Relaxed), 0);
}

#[test]
fn material_that_cannot_be_used_is_refused_with_its_place_and_reason() {
    let authority = Authority::new();
    let good = || identity(authority.named(&["a.test"]));
    let set = |identities: Vec<Identity>, anchors: Vec<Vec<u8>>| {
        let material = TlsMaterial {
            identities,
            anchors,
            crls: vec![],
            client_auth: ClientAuth::Want,
            tls12: true,
            tls13: true,
            redirect: false,
        };
        TlsServer::default().set(material).unwrap_err()
    };
    let swapped = Identity {
        key: good().key,
        ..good()
    };
    assert_eq!(
        set(vec![good(), swapped], vec![]),
        "identity 1: its key does not belong to its certificate"
    );
    let short = Identity {
        chain: vec![include_bytes!("keys/rsa1024.der").to_vec()],
        key: include_bytes!("keys/rsa1024.key.der").to_vec(),
        ocsp: None,
    };
    assert_eq!(
        set(vec![short], vec![]),
        "identity 0: certificate of \"short.test\": RSA of 1024 bits; supported are RSA of 2048 to 4096 \
         bits, ECDSA P-256 and P-384, Ed25519"
    );
    let old = Identity {
        chain: vec![include_bytes!("keys/v1.der").to_vec()],
        key: include_bytes!("keys/v1.key.der").to_vec(),
        ocsp: None,
    };
    assert_eq!(
        set(vec![old], vec![]),
        "identity 0: certificate of \"old.test\": X.509 version 1; supported is version 3"
    );
    let no_certificate = Identity {
        chain: vec![b"rubbish".to_vec()],
        ..good()
    };
    assert_eq!(
        set(vec![no_certificate], vec![]),
        "identity 0: its certificate cannot be read"
    );
    let no_key = Identity {
        key: b"rubbish".to_vec(),
        ..good()
    };
    assert_eq!(
        set(vec![no_key], vec![]),
        "identity 0: its key is neither PKCS#8 nor PKCS#1 nor SEC1"
    );
    let why = set(
        vec![good()],
        vec![authority.der.clone(), b"rubbish".to_vec()],
    );
    assert!(why.starts_with("anchor 1: "), "{why}");
}
