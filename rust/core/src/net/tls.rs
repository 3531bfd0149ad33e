//! TLS by rustls: trust anchors and client key from the embedder, checks and error texts as in the JDK.
//!
//! Where rustls is stricter than the JDK it stays so (TLS 1.2 and 1.3, AEAD suites, RSA from 2048 bits), and
//! [`is_unsupported`] recognises the failure. Where an ordinary set-up would break, this follows the JDK: a certificate
//! that is itself trusted needs no chain, and a common name counts if there are no DNS names.

use super::identity::Identity;
use super::stream::Stream;
use super::x509::{self, Names};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, InvalidMessage,
    OtherError, RootCertStore, SignatureScheme,
};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use tokio_rustls::TlsConnector;

/// How far a server's certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Chain and name.
    Verify,
    /// Chain only.
    VerifyChain,
    /// Nothing; such a server never sees the client's own certificate.
    TrustAll,
}

/// The settings of a client's TLS connections.
pub struct TlsContext {
    trust: Arc<Trust>,
    identity: Option<Arc<Identity>>,
    configs: [OnceLock<Arc<ClientConfig>>; 6],
}

struct Trust {
    roots: RootCertStore,
    /// The anchors themselves, for servers that present one.
    certificates: HashSet<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl TlsContext {
    /// From DER: trust anchors (undecodable ones are skipped), the client's
    /// chain (leaf first) and its PKCS#8 key (empty = no client certificate).
    pub fn new(anchors: Vec<Vec<u8>>, chain: Vec<Vec<u8>>, key: Vec<u8>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(anchors.iter().map(|der| CertificateDer::from(&der[..])));
        let provider = Arc::new(ring::default_provider());
        let identity = match key.is_empty() {
            true => None,
            false => Some(Arc::new(Identity::new(chain, key, &provider)?)),
        };
        let context = Self {
            trust: Arc::new(Trust {
                roots,
                certificates: anchors.into_iter().collect(),
                provider,
            }),
            identity,
            configs: Default::default(),
        };
        context.build(TlsMode::Verify, true)?;
        Ok(context)
    }

    /// Performs the handshake over `stream`.
    ///
    /// `name` is a DNS name or an IP literal; SNI carries DNS names only, and
    /// none with an underscore.
    pub async fn connect(
        &self,
        stream: Stream,
        mode: TlsMode,
        sni: bool,
        name: &str,
    ) -> io::Result<Stream> {
        let server = ServerName::try_from(name.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, UnusableName))?;
        // The JDK's servers refuse a handshake with such a name, and its client does not send it.
        let sni = sni && !name.contains('_');
        let config = self.config(mode, sni).map_err(io::Error::other)?;
        let stream = TlsConnector::from(config).connect(server, stream).await?;
        Ok(Stream::Tls(Box::new(stream)))
    }

    fn config(&self, mode: TlsMode, sni: bool) -> Result<Arc<ClientConfig>, String> {
        let slot = &self.configs[mode as usize * 2 + usize::from(sni)];
        if let Some(config) = slot.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(self.build(mode, sni)?);
        Ok(slot.get_or_init(|| config).clone())
    }

    fn build(&self, mode: TlsMode, sni: bool) -> Result<ClientConfig, String> {
        let builder = ClientConfig::builder_with_provider(self.trust.provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                mode,
                trust: self.trust.clone(),
            }));
        let mut config = match &self.identity {
            // As with the JDK's trust-all engines, which have no key.
            Some(identity) if mode != TlsMode::TrustAll => {
                builder.with_client_cert_resolver(identity.clone())
            }
            _ => builder.with_no_client_auth(),
        };
        config.enable_sni = sni;
        Ok(config)
    }
}

#[derive(Debug)]
struct UnusableName;

impl fmt::Display for UnusableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hostname or IP address is undefined.")
    }
}

impl std::error::Error for UnusableName {}

struct Verifier {
    mode: TlsMode,
    trust: Arc<Trust>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({:?})", self.mode)
    }
}

impl Verifier {
    fn check_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.trust.certificates.contains(leaf.as_ref()) {
            return Ok(());
        }
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(leaf)?,
            &self.trust.roots,
            intermediates,
            now,
            self.trust.provider.signature_verification_algorithms.all,
        )
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.mode != TlsMode::TrustAll {
            self.check_chain(leaf, intermediates, now)?;
        }
        if self.mode == TlsMode::Verify {
            check_name(leaf, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls12_signature(message, leaf, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.trust.provider.signature_verification_algorithms;
        verify_tls13_signature(message, leaf, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust
            .provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A name that is not in the certificate, in the JDK's words.
#[derive(Debug)]
struct WrongName(String);

impl fmt::Display for WrongName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for WrongName {}

fn check_name(leaf: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    if verify_server_name(&ParsedCertificate::try_from(leaf)?, name).is_ok() {
        return Ok(());
    }
    let names = Names::of(leaf).unwrap_or_default();
    let text = match name {
        ServerName::IpAddress(_) if !names.has_alternatives => {
            "No subject alternative names present".to_owned()
        }
        ServerName::IpAddress(_) => {
            let address = name.to_str();
            format!("No subject alternative names matching IP address {address} found")
        }
        _ if !names.dns.is_empty() => {
            let host = name.to_str();
            format!("No subject alternative DNS name matching {host} found.")
        }
        _ => {
            let host = name.to_str();
            let common = names.common_name.as_deref();
            if common.is_some_and(|common| x509::matches(&host, common)) {
                return Ok(());
            }
            format!("No name matching {host} found")
        }
    };
    let error = OtherError(Arc::new(WrongName(text)));
    Err(Error::InvalidCertificate(CertificateError::Other(error)))
}

/// A TLS failure as the user sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct TlsFailure {
    /// It concerns the handshake, whenever it occurred.
    pub handshake: bool,
    /// The JDK's text, where it has one.
    pub message: String,
}

impl TlsFailure {
    /// The TLS failure inside an I/O error, if it is one.
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        if inner.is::<UnusableName>() {
            return Some(handshake(UnusableName.to_string()));
        }
        inner.downcast_ref::<Error>().map(Self::of_rustls)
    }

    fn of_rustls(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(reason) => handshake(certificate_text(reason)),
            Error::AlertReceived(alert) => Self {
                handshake: concerns_handshake(*alert),
                message: format!("Received fatal alert: {}", alert_name(*alert)),
            },
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge
                | InvalidMessage::InvalidEmptyPayload,
            ) => Self {
                handshake: false,
                message: "Unrecognized SSL message, plaintext connection?".to_owned(),
            },
            Error::PeerIncompatible(_)
            | Error::PeerMisbehaved(_)
            | Error::NoCertificatesPresented => handshake(error.to_string()),
            other => Self {
                handshake: false,
                message: other.to_string(),
            },
        }
    }
}

/// Whether a handshake failed over a feature that rustls lacks and other implementations may have: versions and suites,
/// X.509 version 1, short RSA keys.
pub fn is_unsupported(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(Error::InvalidCertificate(reason)) => !is_verdict(reason),
        Some(Error::AlertReceived(alert)) => matches!(
            alert,
            AlertDescription::HandshakeFailure
                | AlertDescription::ProtocolVersion
                | AlertDescription::InsufficientSecurity
        ),
        Some(Error::PeerIncompatible(_)) => true,
        _ => false,
    }
}

/// Whether a certificate was understood and refused.
fn is_verdict(reason: &CertificateError) -> bool {
    use CertificateError as E;
    match reason {
        E::Other(OtherError(inner)) => inner.is::<WrongName>(),
        E::Expired
        | E::ExpiredContext { .. }
        | E::NotValidYet
        | E::NotValidYetContext { .. }
        | E::Revoked
        | E::UnknownIssuer
        | E::NotValidForName
        | E::NotValidForNameContext { .. } => true,
        _ => false,
    }
}

fn handshake(message: String) -> TlsFailure {
    TlsFailure {
        handshake: true,
        message,
    }
}

fn certificate_text(reason: &CertificateError) -> String {
    use CertificateError as E;
    match reason {
        E::Other(OtherError(inner)) if inner.is::<WrongName>() => inner.to_string(),
        E::Expired | E::ExpiredContext { .. } | E::NotValidYet | E::NotValidYetContext { .. } => {
            "PKIX path validation failed: java.security.cert.CertPathValidatorException: \
             validity check failed"
                .to_owned()
        }
        E::Revoked => {
            "PKIX path validation failed: java.security.cert.CertPathValidatorException: \
             Certificate has been revoked"
                .to_owned()
        }
        _ => "PKIX path building failed: \
              sun.security.provider.certpath.SunCertPathBuilderException: \
              unable to find valid certification path to requested target"
            .to_owned(),
    }
}

/// Alerts that the JDK reports as a failed handshake.
fn concerns_handshake(alert: AlertDescription) -> bool {
    use AlertDescription as A;
    !matches!(
        alert,
        A::CloseNotify
            | A::UnexpectedMessage
            | A::BadRecordMac
            | A::DecryptionFailed
            | A::RecordOverflow
            | A::DecompressionFailure
            | A::InternalError
            | A::InappropriateFallback
            | A::UserCanceled
    )
}

/// `BadCertificate` is `bad_certificate` in the IANA registry.
fn alert_name(alert: AlertDescription) -> String {
    let name = format!("{alert:?}").replace("CA", "Ca");
    let mut out = String::with_capacity(name.len() + 4);
    for (at, letter) in name.chars().enumerate() {
        if at > 0 && letter.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(letter.to_ascii_lowercase());
    }
    out
}
