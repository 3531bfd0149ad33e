//! Whom the client's own certificate is shown to.

use crate::certificates::{Authority, Identity};
use crate::support::*;
use httpkit_core::client::*;
use httpkit_core::net::tls::{TlsContext, TlsMode};
use rcgen::{DnValue, KeyPair};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};
use std::io::Write;
use std::sync::Arc;

/// The subject of a certificate, as a request for client certificates names it.
fn subject(authority: &[u8]) -> rustls::DistinguishedName {
    let mut store = RootCertStore::empty();
    store.add(CertificateDer::from(authority.to_vec())).unwrap();
    store.subjects().remove(0)
}

/// A server that wants a certificate of one of `authorities`, accepts every and none, and whose
/// body is how many certificates it got.
fn curious_server(identity: &Identity, authorities: Vec<rustls::DistinguishedName>) -> Server {
    let provider = Arc::new(ring::default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(identity.key.clone()));
    let chain = vec![CertificateDer::from(identity.der.clone())];
    let config = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(Arc::new(Curious {
            authorities,
            provider,
        }))
        .with_single_cert(chain, key)
        .unwrap();
    let config = Arc::new(config);
    Server::new(move |_, stream| {
        let session = ServerConnection::new(config.clone()).unwrap();
        let mut tls = StreamOwned::new(session, stream.try_clone().unwrap());
        while read_request(&mut tls).is_some() {
            let got = tls.conn.peer_certificates().map_or(0, <[_]>::len);
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{got}");
            if tls.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    })
}

#[derive(Debug)]
struct Curious {
    authorities: Vec<rustls::DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for Curious {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &self.authorities
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

/// How many certificates a client with this identity shows to a server that names `authorities`.
fn shown(
    ca: &Authority,
    chain: &[&[u8]],
    key: &[u8],
    mode: TlsMode,
    authorities: Vec<rustls::DistinguishedName>,
) -> String {
    let server = curious_server(&ca.named(&["localhost"]), authorities);
    let client = Running::new();
    let chain = chain.iter().map(|der| der.to_vec()).collect();
    let context = TlsContext::new(vec![ca.der.clone()], chain, key.to_vec()).unwrap();
    client.client.set_tls(context);
    let spec = CallSpec {
        tls: Some(mode),
        tls_name: "localhost".to_owned(),
        host: "localhost".to_owned(),
        ..get(server.address)
    };
    let seen = client.run(spec).unwrap();
    String::from_utf8(seen.body).unwrap()
}

#[test]
fn client_certificates_are_shown_only_to_servers_that_know_their_issuers() {
    let ca = Authority::new();
    let root = Authority::called("Client  Root");
    let middle = root.subordinate("middle");
    let leaf = middle.named(&["client"]);
    let stranger = Authority::called("stranger");
    let alike = Authority::called("Client Root 2");
    let chain: &[&[u8]] = &[&leaf.der, &middle.der];
    let names = |authorities: &[&Authority]| -> Vec<_> {
        authorities.iter().map(|a| subject(&a.der)).collect()
    };
    for (authorities, want) in [
        (names(&[]), "2"),
        (names(&[&stranger]), "0"),
        (names(&[&stranger, &alike]), "0"),
        (names(&[&middle]), "2"),
        (names(&[&stranger, &root]), "2"),
    ] {
        let got = shown(&ca, chain, &leaf.key, TlsMode::Verify, authorities.clone());
        assert_eq!(got, want, "{authorities:?}");
        let got = shown(&ca, chain, &leaf.key, TlsMode::TrustAll, authorities);
        assert_eq!(got, "0", "never to a server that nothing is checked of");
    }
}

#[test]
fn names_of_issuers_are_compared_as_the_jdk_does() {
    let ca = Authority::new();
    let root = Authority::called("Client  Root");
    let leaf = root.named(&["client"]);
    let spelled = |name: DnValue| {
        let key = KeyPair::generate().unwrap();
        let certificate = Authority::params(name).self_signed(&key).unwrap();
        vec![subject(certificate.der())]
    };
    let printable = |text: &str| DnValue::PrintableString(text.try_into().unwrap());
    for (name, want) in [
        (DnValue::Utf8String("Client  Root".to_owned()), "1"),
        (DnValue::Utf8String(" client ROOT ".to_owned()), "1"),
        (printable("CLIENT ROOT"), "1"),
        (DnValue::Utf8String("ClientRoot".to_owned()), "0"),
        (printable("Client Root x"), "0"),
    ] {
        let got = shown(
            &ca,
            &[leaf.der.as_slice()],
            &leaf.key,
            TlsMode::Verify,
            spelled(name.clone()),
        );
        assert_eq!(got, want, "{name:?}");
    }
}
