//! A connection to a server, plain or with TLS.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use crate::client::not_yet;

/// With TLS, what is written is kept until [`Write::flush`] could send it.
#[derive(Debug)]
pub enum Wire<S> {
    Plain(S),
    Tls(Box<ClientConnection>, S),
}

impl<S: Read + Write> Wire<S> {
    pub fn new(stream: S, tls: bool) -> io::Result<Self> {
        if !tls {
            return Ok(Self::Plain(stream));
        }
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let connection = ClientConnection::new(config(), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(connection), stream))
    }

    /// Whether a short read has emptied the socket.
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }
}

impl<S: Read + Write> Read for Wire<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let (connection, stream) = match self {
            Self::Plain(stream) => return stream.read(buf),
            Self::Tls(connection, stream) => (connection, stream),
        };
        loop {
            match connection.reader().read(buf) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            if connection.read_tls(stream)? == 0 {
                return Ok(0);
            }
            connection.process_new_packets().map_err(io::Error::other)?;
            send(connection, stream)?;
        }
    }
}

impl<S: Read + Write> Write for Wire<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.write(bytes),
            Self::Tls(connection, _) => connection.writer().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.flush(),
            Self::Tls(connection, stream) => send(connection, stream),
        }
    }
}

/// As much as the socket takes.
fn send(connection: &mut ClientConnection, stream: &mut impl Write) -> io::Result<()> {
    while connection.wants_write() {
        match connection.write_tls(stream) {
            Ok(_) => {}
            Err(e) if not_yet(&e) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// The same for all servers, so that they do the same work: TLS 1.3 with one suite and X25519, each handshake in full.
fn config() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    CONFIG
        .get_or_init(|| {
            let mut provider = ring::default_provider();
            provider.cipher_suites = vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256];
            provider.kx_groups = vec![ring::kx_group::X25519];
            let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&TLS13])
                .expect("the suite is one of TLS 1.3")
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone))
                .with_no_client_auth();
            config.resumption = Resumption::disabled();
            Arc::new(config)
        })
        .clone()
}

/// Any server will do: what the client would spend on checks is no figure of theirs.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
