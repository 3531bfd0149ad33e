//! Clients whose certificates their authority has revoked.

use std::io::Write;
use std::sync::Arc;

use httpkit_core::net::tls_server::{ClientAuth, TlsMaterial};
use httpkit_core::server::Mode;
use rcgen::{CertificateParams, SerialNumber};
use rustls::{ClientConfig, HandshakeKind};

use crate::certificates::{Authority, Identity};
use crate::support::{answer, config, read_response};
use crate::tls_identities::refusal;
use crate::tls_support::{Peer, Secure, VERSIONS, client_with, material};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn requiring(authority: &Authority, crls: Vec<Vec<u8>>) -> TlsMaterial {
    TlsMaterial {
        anchors: vec![authority.der.clone()],
        client_auth: ClientAuth::Need,
        crls,
        ..material(authority)
    }
}

fn numbered(serial: u64) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.serial_number = Some(SerialNumber::from(serial))
}

fn serve(server: &Secure, peer: &mut Peer) {
    peer.write_all(GET).unwrap();
    answer(&server.running.request(), b"ok");
    assert_eq!(read_response(peer), b"ok");
}

fn connect(server: &Secure, authority: &Authority, own: Identity) -> Peer {
    server.connect_with(Arc::new(client_with(authority, own, &VERSIONS)))
}

#[test]
fn a_revoked_certificate_is_refused_and_others_are_not() {
    let authority = Authority::new();
    let crls = vec![authority.revoked(&[7, 9], 2100)];
    let material = requiring(&authority, crls);
    let server = Secure::with(config(Mode::Pull), Authority::new(), material);
    for (serial, revoked) in [(7, true), (8, false), (9, true)] {
        let own = authority.issue(numbered(serial));
        let mut peer = connect(&server, &authority, own);
        match revoked {
            true => assert!(
                refusal(&mut peer).contains("CertificateRevoked"),
                "{serial}"
            ),
            false => serve(&server, &mut peer),
        }
    }
}

#[test]
fn a_list_that_has_expired_or_is_of_another_authority_admits_no_client() {
    let authority = Authority::new();
    let other = Authority::called("another authority");
    for crl in [authority.revoked(&[7], 2021), other.revoked(&[7], 2100)] {
        let material = requiring(&authority, vec![crl]);
        let server = Secure::with(config(Mode::Pull), Authority::new(), material);
        let mut peer = connect(&server, &authority, authority.issue(numbered(8)));
        assert!(refusal(&mut peer).contains("alert"));
    }
}

#[test]
fn each_authority_of_a_chain_needs_a_list() {
    let authority = Authority::new();
    let below = authority.subordinate("subordinate");
    let client = || {
        let own = below.issue(numbered(3));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(own.key).into();
        let chain = [own.der, below.der.clone()].map(Into::into).to_vec();
        crate::tls_support::client_builder(&authority, &VERSIONS)
            .with_client_auth_cert(chain, key)
            .unwrap()
    };
    for (crls, accepted) in [
        (vec![below.revoked(&[], 2100)], false),
        (
            vec![below.revoked(&[], 2100), authority.revoked(&[], 2100)],
            true,
        ),
        (
            vec![below.revoked(&[3], 2100), authority.revoked(&[], 2100)],
            false,
        ),
    ] {
        let material = requiring(&authority, crls);
        let server = Secure::with(config(Mode::Pull), Authority::new(), material);
        let mut peer = server.connect_with(Arc::new(client()));
        match accepted {
            true => serve(&server, &mut peer),
            false => assert!(refusal(&mut peer).contains("alert")),
        }
    }
}

#[test]
fn a_session_of_a_client_that_is_revoked_later_is_not_resumed() {
    let authority = Authority::new();
    let none = authority.revoked(&[], 2100);
    let material = requiring(&authority, vec![none.clone()]);
    let server = Secure::with(config(Mode::Pull), authority, material);
    let authority = &server.authority;
    let own = authority.issue(numbered(7));
    let client: Arc<ClientConfig> = Arc::new(client_with(authority, own, &VERSIONS));
    for expected in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let mut peer = server.connect_with(client.clone());
        serve(&server, &mut peer);
        assert_eq!(peer.conn.handshake_kind(), Some(expected));
    }
    let renewed = requiring(authority, vec![none]);
    server.running.server.tls().set(renewed).unwrap();
    let mut peer = server.connect_with(client.clone());
    serve(&server, &mut peer);
    let revoking = requiring(authority, vec![authority.revoked(&[7], 2100)]);
    server.running.server.tls().set(revoking).unwrap();
    assert!(refusal(&mut server.connect_with(client)).contains("CertificateRevoked"));
}

#[test]
fn what_is_no_list_is_refused_with_its_place() {
    let authority = Authority::new();
    let crls = vec![authority.revoked(&[], 2100), b"rubbish".to_vec()];
    let tls = httpkit_core::net::tls_server::TlsServer::default();
    let why = tls.set(requiring(&authority, crls)).unwrap_err();
    assert!(why.starts_with("crl 1: "), "{why}");
}
