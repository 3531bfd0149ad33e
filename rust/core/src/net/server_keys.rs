//! A server's keys and certificates, and which of them a client gets.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, SignatureAlgorithm, SignatureScheme};

use super::ocsp;
use super::tls_server::Identity;
use super::x509::{self, Names};

const SUPPORTED: &str = "supported are RSA of 2048 to 4096 bits, ECDSA P-256 and P-384, Ed25519";

/// A key with its certificates.
#[derive(Debug)]
struct Served {
    key: Arc<CertifiedKey>,
    /// The same with an OCSP response, and until when that holds.
    stapled: Option<(Arc<CertifiedKey>, u64)>,
}

impl Served {
    /// Without a response that has expired or is about another certificate: clients would refuse it.
    fn now(&self) -> &Arc<CertifiedKey> {
        match &self.stapled {
            Some((stapled, until)) if *until > UnixTime::now().as_secs() => stapled,
            _ => &self.key,
        }
    }

    fn kind(&self) -> SignatureAlgorithm {
        self.key.key.algorithm()
    }
}

/// All identities, by the names in their certificates.
#[derive(Debug)]
pub(super) struct Keys {
    keys: Vec<Arc<Served>>,
    /// In lower case; `*.` begins a name that stands for all with one label in its place. ECDSA keys come first: their
    /// handshakes cost least.
    by_name: HashMap<String, Vec<Arc<Served>>>,
}

impl Keys {
    pub(super) fn new(identities: &[Identity], provider: &CryptoProvider) -> Result<Self, String> {
        let mut keys = Vec::with_capacity(identities.len());
        let mut by_name = HashMap::<_, Vec<_>>::new();
        for (at, identity) in identities.iter().enumerate() {
            let (key, names) =
                read(identity, provider).map_err(|e| format!("identity {at}: {e}"))?;
            let key = Arc::new(key);
            for name in names {
                by_name.entry(name).or_default().push(key.clone());
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("no identity".to_owned());
        }
        let is_not_ecdsa = |key: &Arc<Served>| key.kind() != SignatureAlgorithm::ECDSA;
        by_name
            .values_mut()
            .for_each(|keys| keys.sort_by_key(is_not_ecdsa));
        Ok(Self { keys, by_name })
    }

    /// Whether signing with one of them is too slow for a loop, as with RSA.
    pub(super) fn sign_slowly(&self) -> bool {
        let mut keys = self.keys.iter();
        keys.any(|key| key.kind() == SignatureAlgorithm::RSA)
    }

    /// Until when the OCSP response of each holds; 0 if it is about another certificate.
    pub(super) fn stapled_until(&self) -> Vec<Option<u64>> {
        let until = |key: &Arc<Served>| key.stapled.as_ref().map(|(_, until)| *until);
        self.keys.iter().map(until).collect()
    }

    /// The best one for a client that asks for `name` and can verify these kinds of signatures.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> &Served {
        let usable = |key: &&Arc<Served>| key.key.key.choose_scheme(schemes).is_some();
        let named = name.and_then(|name| {
            let exact = name.trim_end_matches('.').to_ascii_lowercase();
            let wildcard = exact
                .split_once('.')
                .map(|(_, domain)| format!("*.{domain}"));
            [Some(exact), wildcard]
                .into_iter()
                .flatten()
                .filter_map(|name| self.by_name.get(&name))
                .find_map(|keys| keys.iter().find(usable))
        });
        // If the client can verify none, the handshake fails with the right reason.
        let any = || self.keys.iter().find(usable);
        named.or_else(any).unwrap_or(&self.keys[0])
    }
}

/// The key of an identity, and the names that clients may ask for.
fn read(identity: &Identity, provider: &CryptoProvider) -> Result<(Served, Vec<String>), String> {
    let leaf = identity.chain.first().ok_or("no certificate")?;
    let names = Names::of(leaf).ok_or("its certificate cannot be read")?;
    let kind = x509::key_kind(leaf).ok_or("its certificate cannot be read")?;
    let version = x509::version(leaf).ok_or("its certificate cannot be read")?;
    let name = names.first().unwrap_or("no name");
    if !kind.is_supported() {
        return Err(format!("certificate of {name:?}: {kind}; {SUPPORTED}"));
    }
    if version != 3 {
        return Err(format!(
            "certificate of {name:?}: X.509 version {version}; supported is version 3"
        ));
    }
    let key = PrivateKeyDer::try_from(identity.key.clone())
        .map_err(|_| "its key is neither PKCS#8 nor PKCS#1 nor SEC1")?;
    let chain = identity.chain.iter().cloned().map(CertificateDer::from);
    let key =
        CertifiedKey::from_der(chain.collect(), key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                "its key does not belong to its certificate".to_owned()
            }
            // A key of another kind than the certificate's may also be one that ring cannot use.
            other => format!("its key cannot be used: {other}"),
        })?;
    let stapled = match &identity.ocsp {
        Some(response) => {
            let until = ocsp::holds_until(response, leaf)?;
            let ocsp = Some(response.clone());
            Some((
                Arc::new(CertifiedKey {
                    ocsp,
                    ..key.clone()
                }),
                until,
            ))
        }
        None => None,
    };
    let key = Arc::new(key);
    Ok((Served { key, stapled }, names.for_clients()))
}

thread_local! {
    /// The name that the latest client on this thread asked for: rustls does not tell it otherwise to those who keep
    /// the buffers themselves.
    static ASKED_FOR: RefCell<Option<Box<str>>> = const { RefCell::new(None) };
}

/// The name that was asked for in the handshake message which was processed last, on this thread.
pub(crate) fn take_asked_for() -> Option<Box<str>> {
    ASKED_FOR.take()
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name();
        ASKED_FOR.set(name.map(Box::from));
        Some(self.choose(name, client.signature_schemes()).now().clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::ocsp::tests::response;

    #[test]
    fn a_response_is_sent_while_it_holds() {
        for (until, sent) in [
            (Some("21000301000000Z"), true),
            (Some("20200301000000Z"), false),
            (None, true),
        ] {
            let leaf = leaf();
            let ocsp = response(x509::serial(&leaf.0).unwrap(), 0x80, until);
            assert_eq!(
                sent_with(leaf, &ocsp),
                sent.then_some(ocsp.clone()),
                "{until:?}"
            );
        }
    }

    #[test]
    fn a_response_about_another_certificate_is_not_sent_and_does_not_keep_this_one_from_use() {
        let ocsp = response(x509::serial(&leaf().0).unwrap(), 0x80, None);
        assert_eq!(sent_with(leaf(), &ocsp), None);
    }

    fn leaf() -> (Vec<u8>, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        (made.cert.der().to_vec(), made.signing_key.serialize_der())
    }

    /// The response that clients get with this certificate.
    fn sent_with((leaf, key): (Vec<u8>, Vec<u8>), ocsp: &[u8]) -> Option<Vec<u8>> {
        let identity = Identity {
            chain: vec![leaf],
            key,
            ocsp: Some(ocsp.to_vec()),
        };
        let provider = rustls::crypto::ring::default_provider();
        let keys = Keys::new(&[identity], &provider).unwrap();
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let chosen = keys.choose(Some("a.example"), &schemes).now();
        chosen.ocsp.clone()
    }
}
