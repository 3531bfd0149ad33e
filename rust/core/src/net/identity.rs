//! The client's own certificate, and which servers it is sent to.

use super::x509;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

/// A certificate chain with its key, used as the JDK's key manager does: for a server that names no authorities, or one
/// that issued a certificate of the chain. Others get none, and may still serve the client.
#[derive(Debug)]
pub(super) struct Identity {
    key: Arc<CertifiedKey>,
    /// In the form of [`x509::comparable`].
    issuers: Vec<Vec<u8>>,
}

impl Identity {
    /// From DER: the chain, leaf first, and a PKCS#8 key.
    pub(super) fn new(
        chain: Vec<Vec<u8>>,
        key: Vec<u8>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let issuers = chain
            .iter()
            .filter_map(|certificate| x509::issuer(certificate))
            .map(x509::comparable)
            .collect();
        let chain = chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|e| e.to_string())?;
        Ok(Self {
            key: Arc::new(key),
            issuers,
        })
    }
}

impl ResolvesClientCert for Identity {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let known = authorities
            .iter()
            .any(|name| self.issuers.contains(&x509::comparable(name)));
        (known || authorities.is_empty()).then(|| self.key.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
