//! A server with a TLS port, and peers that speak TLS.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use httpkit_core::net::tls_server::{ClientAuth, Identity, TlsMaterial};
use httpkit_core::server::Config;
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::certificates::{self, Authority};
use crate::support::{PATIENCE, Running, any_port};

pub type Peer = StreamOwned<ClientConnection, TcpStream>;

pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];

/// A server with both ports, and who signed its certificate.
pub struct Secure {
    pub running: Running,
    pub port: u16,
    pub authority: Authority,
}

pub fn identity(made: certificates::Identity) -> Identity {
    Identity {
        chain: vec![made.der],
        key: made.key,
        ocsp: None,
    }
}

/// For `localhost`, without client certificates.
pub fn material(authority: &Authority) -> TlsMaterial {
    TlsMaterial {
        identities: vec![identity(authority.named(&["localhost"]))],
        anchors: vec![],
        crls: vec![],
        client_auth: ClientAuth::None,
        tls12: true,
        tls13: true,
        redirect: false,
    }
}

impl Secure {
    pub fn start(config: Config) -> Self {
        let authority = Authority::new();
        let material = material(&authority);
        Self::with(config, authority, material)
    }

    /// Whose certificate has an RSA key, so that no loop signs with it.
    pub fn with_rsa(config: Config) -> Self {
        let authority = Authority::new();
        let key = KeyPair::from_pem(include_str!("keys/rsa2048.pem")).unwrap();
        let material = TlsMaterial {
            identities: vec![identity(authority.named_for(&key, &["localhost"]))],
            ..material(&authority)
        };
        Self::with(config, authority, material)
    }

    /// Whose plain port only redirects.
    pub fn redirecting(config: Config) -> Self {
        let authority = Authority::new();
        let material = TlsMaterial {
            redirect: true,
            ..material(&authority)
        };
        Self::with(config, authority, material)
    }

    pub fn with(config: Config, authority: Authority, material: TlsMaterial) -> Self {
        let mut running = Running::bind(&any_port(), config);
        running.server.tls().set(material).unwrap();
        let port = running.server.listen_tls(&any_port()).unwrap().unwrap();
        running.run();
        Self {
            running,
            port,
            authority,
        }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// A socket to the TLS port.
    pub fn socket(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// A peer that trusts the server's authority.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        client_builder(&self.authority, versions).with_no_client_auth()
    }

    pub fn connect(&self) -> Peer {
        self.connect_with(Arc::new(self.client(&VERSIONS)))
    }

    /// The handshake happens with the first read or write.
    pub fn connect_with(&self, config: Arc<ClientConfig>) -> Peer {
        self.connect_to("localhost", config)
    }

    pub fn connect_to(&self, name: &str, config: Arc<ClientConfig>) -> Peer {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        StreamOwned::new(ClientConnection::new(config, name).unwrap(), self.socket())
    }
}

pub fn client_builder(
    authority: &Authority,
    versions: &[&'static SupportedProtocolVersion],
) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(authority.der.clone()))
        .unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
}

/// As [`Secure::client`], with a certificate of its own.
pub fn client_with(
    authority: &Authority,
    own: certificates::Identity,
    versions: &[&'static SupportedProtocolVersion],
) -> ClientConfig {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(own.key));
    let chain = vec![CertificateDer::from(own.der)];
    client_builder(authority, versions)
        .with_client_auth_cert(chain, key)
        .unwrap()
}
