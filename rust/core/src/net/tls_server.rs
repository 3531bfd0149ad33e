//! TLS of a server: its identities and how one is chosen, authorities for clients' certificates, tickets.
//!
//! The material is DER: the embedder reads stores and files. All of it can be replaced while the server runs; a
//! connection keeps the material it began with. The records of a connection are not here (`server/tls.rs`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::server_keys::Keys;
pub(crate) use super::server_keys::take_asked_for;

/// Protocols for ALPN. A client that offers none of them is refused; one that does not ask gets HTTP/1.1.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"http/1.0"];

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// No.
    #[default]
    None,
    /// Yes, but they need not have one. An invalid one is refused.
    Want,
    /// Yes, and clients without one are refused.
    Need,
}

/// A certificate with its key.
#[derive(Clone)]
pub struct Identity {
    /// DER, leaf first.
    pub chain: Vec<Vec<u8>>,
    /// DER: PKCS#8, PKCS#1 or SEC1.
    pub key: Vec<u8>,
    /// An OCSP response in DER which says that the leaf is not revoked; it is sent along while it holds. One about
    /// another certificate is not sent.
    pub ocsp: Option<Vec<u8>>,
}

/// The material that a server needs for TLS.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// In order of preference. The first one is for clients that name no server, or an unknown one.
    pub identities: Vec<Identity>,
    /// DER of the certificates that may sign clients' certificates.
    pub anchors: Vec<Vec<u8>>,
    /// DER of the lists of certificates that they have revoked. If there is any, each authority in a client's chain
    /// needs one, and it must not have expired.
    pub crls: Vec<Vec<u8>>,
    /// Whether clients are asked for one.
    pub client_auth: ClientAuth,
    /// Whether TLS 1.2 may be used.
    pub tls12: bool,
    /// Whether TLS 1.3 may be used.
    pub tls13: bool,
    /// Whether plain HTTP requests are redirected to https.
    pub redirect: bool,
}

/// Counts of a server's handshakes.
#[derive(Debug, Default)]
pub struct Handshakes {
    /// Completed ones that began a session.
    pub full: AtomicU64,
    /// Completed ones that resumed a session.
    pub resumed: AtomicU64,
    /// Failed ones, for any reason.
    pub failed: AtomicU64,
}

impl Handshakes {
    pub(crate) fn complete(&self, resumed: bool) {
        Self::count(if resumed { &self.resumed } else { &self.full });
    }

    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Completed ones, those of them that resumed a session, and failed ones.
    pub fn counts(&self) -> [u64; 3] {
        let [full, resumed, failed] =
            [&self.full, &self.resumed, &self.failed].map(|count| count.load(Ordering::Relaxed));
        [full + resumed, resumed, failed]
    }
}

/// The TLS settings of a server, which can be replaced at any time.
#[derive(Debug, Default)]
pub struct TlsServer {
    current: RwLock<Option<Arc<Current>>>,
    /// How its handshakes went.
    pub handshakes: Handshakes,
}

struct Current {
    config: Arc<ServerConfig>,
    /// Kept when the material is replaced: resumption survives that.
    tickets: Arc<dyn ProducesTickets>,
    client_auth: ClientAuth,
    anchors: Vec<Vec<u8>>,
    crls: Vec<Vec<u8>>,
    redirect: bool,
    signs_slowly: bool,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Current({:?})", self.client_auth)
    }
}

impl TlsServer {
    /// Sets or replaces everything for connections that begin after this; an error says what is wrong with which part,
    /// and changes nothing.
    ///
    /// Returns until when the OCSP response of each identity holds, in seconds since 1970: `None` where there is none,
    /// 0 for one about another certificate.
    pub fn set(&self, material: TlsMaterial) -> Result<Vec<Option<u64>>, String> {
        let old = self.current.read().clone();
        // A ticket vouches for the certificate that its client has shown, so one that was issued under other rules
        // must not be accepted any more.
        let same_rules = |old: &Arc<Current>| {
            old.client_auth == material.client_auth
                && old.anchors == material.anchors
                && old.crls == material.crls
        };
        let tickets = match old.filter(same_rules) {
            Some(old) => old.tickets.clone(),
            None => Ticketer::new().map_err(|error| error.to_string())?,
        };
        // Not under the lock, for which loops would wait.
        let provider = Arc::new(ring::default_provider());
        let keys = Arc::new(Keys::new(&material.identities, &provider)?);
        let config = Arc::new(build(&material, provider, keys.clone(), tickets.clone())?);
        *self.current.write() = Some(Arc::new(Current {
            config,
            tickets,
            client_auth: material.client_auth,
            anchors: material.anchors,
            crls: material.crls,
            redirect: material.redirect,
            signs_slowly: keys.sign_slowly(),
        }));
        Ok(keys.stapled_until())
    }

    /// The settings for a connection that begins now, and whether its signature may take too long for a loop; `None`
    /// until there are any.
    pub fn config(&self) -> Option<(Arc<ServerConfig>, bool)> {
        let current = self.current.read();
        let current = current.as_ref()?;
        Some((current.config.clone(), current.signs_slowly))
    }

    /// Whether plain HTTP requests are redirected to https.
    pub fn redirects(&self) -> bool {
        let current = self.current.read();
        current.as_ref().is_some_and(|current| current.redirect)
    }
}

fn build(
    material: &TlsMaterial,
    provider: Arc<CryptoProvider>,
    keys: Arc<Keys>,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, String> {
    let versions: Vec<&'static SupportedProtocolVersion> = [
        material.tls13.then_some(&TLS13),
        material.tls12.then_some(&TLS12),
    ]
    .into_iter()
    .flatten()
    .collect();
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let builder = match material.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        _ => builder.with_client_cert_verifier(verifier(material, &provider)?),
    };
    let mut config = builder.with_cert_resolver(keys);
    config.ticketer = tickets;
    // TLS scanners expect the server's order; all suites offered are strong.
    config.ignore_client_order = true;
    // Tickets hold the sessions.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn verifier(
    material: &TlsMaterial,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(roots(&material.anchors)?);
    let with = |crls: &[Vec<u8>]| {
        let crls = crls.iter().cloned().map(CertificateRevocationListDer::from);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .with_crls(crls)
            .enforce_revocation_expiration();
        let verifier = match material.client_auth {
            ClientAuth::Want => verifier.allow_unauthenticated(),
            _ => verifier,
        };
        verifier.build().map_err(|error| error.to_string())
    };
    // One by one first, because an error does not say which one it is about.
    for (at, crl) in material.crls.iter().enumerate() {
        with(std::slice::from_ref(crl)).map_err(|error| format!("crl {at}: {error}"))?;
    }
    with(&material.crls)
}

fn roots(anchors: &[Vec<u8>]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for (at, anchor) in anchors.iter().enumerate() {
        roots
            .add(CertificateDer::from(&anchor[..]))
            .map_err(|error| format!("anchor {at}: {error}"))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes_that_resume_a_session_never_count_as_full_meanwhile() {
        let handshakes = Handshakes::default();
        std::thread::scope(|scope| {
            let counting = scope.spawn(|| {
                for _ in 0..1_000_000 {
                    handshakes.complete(true);
                }
            });
            while !counting.is_finished() {
                let [completed, resumed, _] = handshakes.counts();
                assert_eq!(completed, resumed);
            }
        });
    }
}
