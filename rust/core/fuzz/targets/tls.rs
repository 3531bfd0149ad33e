//! TLS of the server: a peer that speaks it, whose records are cut into pieces anywhere and damaged somewhere. What it
//! reads is what was sent, or an end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use httpkit_core::h1::proxy::ProxyMode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::serving::{ASK, PATIENCE, Serving, talk};

/// How long the server may take in a handshake.
const SOON: Duration = Duration::from_millis(200);

/// A socket that damages one byte of what is written, and writes in pieces.
struct Damaging {
    stream: TcpStream,
    size: usize,
    at: usize,
    flip: u8,
}

impl Write for Damaging {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(self.size);
        let mut piece = bytes[..n].to_vec();
        if let Some(byte) = piece.get_mut(self.at) {
            *byte ^= self.flip;
        }
        let written = self.stream.write(&piece)?;
        self.at = self.at.wrapping_sub(written);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.stream.flush()
    }
}

impl Read for Damaging {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        self.stream.read(into)
    }
}

// Version and options; size of the pieces; position of the damage (two bytes); the damage; the rest is what is said.
pub fn run(data: &[u8]) {
    static SERVING: OnceLock<Serving> = OnceLock::new();
    static CONFIGS: OnceLock<[[Arc<ClientConfig>; 2]; 2]> = OnceLock::new();
    let &[options, size, high, low, flip, ref said @ ..] = data else {
        return;
    };
    let serving = SERVING.get_or_init(|| Serving::start(ProxyMode::Disable));
    let configs = CONFIGS.get_or_init(|| {
        [&rustls::version::TLS13, &rustls::version::TLS12]
            .map(|version| [false, true].map(|rsa| Arc::new(config(version, rsa))))
    });
    let [version, rsa] = [options & 1, options >> 2 & 1].map(usize::from);
    let name = ServerName::try_from("localhost").unwrap();
    let mut session = ClientConnection::new(configs[version][rsa].clone(), name).unwrap();
    let mut socket = Damaging {
        stream: serving.connect(true),
        size: usize::from(size).max(1) + usize::from(size & 1) * 20_000,
        at: usize::from(u16::from_be_bytes([high, low]) % 2048),
        flip,
    };
    let heard = exchange(&mut session, &mut socket, said, options & 2 != 0);
    assert!(
        heard.is_empty() || heard.starts_with(b"HTTP/1.1 "),
        "{heard:?}"
    );
    drop(socket);
    let next = talk(serving.connect(false), ASK, ASK.len());
    assert!(!next.is_empty(), "the next peer is served");
}

/// Says it, and hears what comes until the end.
fn exchange(
    session: &mut ClientConnection,
    socket: &mut Damaging,
    said: &[u8],
    bids_farewell: bool,
) -> Vec<u8> {
    // A damaged length makes both sides wait for more; the server's limits are not what is tested here.
    let wait = |socket: &Damaging, time| socket.stream.set_read_timeout(Some(time)).unwrap();
    wait(socket, SOON);
    let mut stream = rustls::Stream::new(session, socket);
    let mut heard = Vec::new();
    if stream.write_all(said).is_err() {
        return heard;
    }
    wait(stream.sock, PATIENCE);
    // In a handshake, which saying nothing leaves open, rustls asserts that no alert follows this one.
    if bids_farewell && !stream.conn.is_handshaking() {
        stream.conn.send_close_notify();
    }
    while stream.conn.wants_write() {
        if stream.conn.write_tls(stream.sock).is_err() {
            return heard;
        }
    }
    // The server may have reset the connection.
    let _ = stream.sock.stream.shutdown(Shutdown::Write);
    match stream.read_to_end(&mut heard) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!("the server never ended the connection")
        }
        _ => heard,
    }
}

/// `rsa`: the server has to sign with its RSA key.
fn config(version: &'static rustls::SupportedProtocolVersion, rsa: bool) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting { rsa }))
        .with_no_client_auth()
}

/// The identity of the server is not under test.
#[derive(Debug)]
struct Trusting {
    rsa: bool,
}

impl ServerCertVerifier for Trusting {
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
        let all = rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes();
        let is_rsa = |scheme: &SignatureScheme| {
            matches!(
                scheme,
                SignatureScheme::RSA_PSS_SHA256 | SignatureScheme::RSA_PKCS1_SHA256
            )
        };
        all.into_iter()
            .filter(|scheme| !self.rsa || is_rsa(scheme))
            .collect()
    }
}
