//! TLS of a server: its identities and how one is chosen, authorities for clients' certificates, tickets.
//!
//! The material is DER: the embedder reads stores and files. All of it can be replaced while the server runs; a
//! connection keeps the material it began with. The records of a connection are not here (`server/tls.rs`).

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, Ticketer};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    InconsistentKeys, RootCertStore, ServerConfig, SignatureAlgorithm, SignatureScheme,
    SupportedProtocolVersion,
};

use super::x509::{self, Names};

/// Protocols for ALPN. A client that offers none of them is refused; one that does not ask gets HTTP/1.1.
const PROTOCOLS: [&[u8]; 1] = [b"http/1.1"];

const SUPPORTED: &str = "supported are RSA of 2048 to 4096 bits, ECDSA P-256 and P-384, Ed25519";

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
}

/// The material that a server needs for TLS.
#[derive(Clone, Default)]
pub struct TlsMaterial {
    /// In order of preference. The first one is for clients that name no server, or an unknown one.
    pub identities: Vec<Identity>,
    /// DER of the certificates that may sign clients' certificates.
    pub anchors: Vec<Vec<u8>>,
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
    /// Completed ones.
    pub completed: AtomicU64,
    /// Those of them that resumed a session.
    pub resumed: AtomicU64,
    /// Failed ones, for any reason.
    pub failed: AtomicU64,
}

impl Handshakes {
    pub(crate) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, in that order.
    pub fn counts(&self) -> [u64; 3] {
        [&self.completed, &self.resumed, &self.failed].map(|count| count.load(Ordering::Relaxed))
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
    redirect: bool,
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Current({:?})", self.client_auth)
    }
}

impl TlsServer {
    /// Sets or replaces everything for connections that begin after this; an error says what is wrong with which part,
    /// and changes nothing.
    pub fn set(&self, material: TlsMaterial) -> Result<(), String> {
        let old = self.current.read().clone();
        // A ticket vouches for the certificate that its client has shown, so one that was issued under other rules
        // must not be accepted any more.
        let same_rules = |old: &Arc<Current>| {
            old.client_auth == material.client_auth && old.anchors == material.anchors
        };
        let tickets = match old.filter(same_rules) {
            Some(old) => old.tickets.clone(),
            None => Ticketer::new().map_err(|error| error.to_string())?,
        };
        // Not under the lock, for which loops would wait.
        let config = Arc::new(build(&material, tickets.clone())?);
        *self.current.write() = Some(Arc::new(Current {
            config,
            tickets,
            client_auth: material.client_auth,
            anchors: material.anchors,
            redirect: material.redirect,
        }));
        Ok(())
    }

    /// The settings for a connection that begins now; `None` until there are any.
    pub fn config(&self) -> Option<Arc<ServerConfig>> {
        let current = self.current.read();
        current.as_ref().map(|current| current.config.clone())
    }

    /// Whether plain HTTP requests are redirected to https.
    pub fn redirects(&self) -> bool {
        let current = self.current.read();
        current.as_ref().is_some_and(|current| current.redirect)
    }
}

fn build(
    material: &TlsMaterial,
    tickets: Arc<dyn ProducesTickets>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: Vec<&'static SupportedProtocolVersion> = [
        material.tls13.then_some(&TLS13),
        material.tls12.then_some(&TLS12),
    ]
    .into_iter()
    .flatten()
    .collect();
    let identities = Identities::new(&material.identities, &provider)?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| error.to_string())?;
    let builder = match material.client_auth {
        ClientAuth::None => builder.with_no_client_auth(),
        auth => {
            let roots = Arc::new(roots(&material.anchors)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = match auth {
                ClientAuth::Want => verifier.allow_unauthenticated(),
                _ => verifier,
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|e| e.to_string())?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(identities));
    config.ticketer = tickets;
    // TLS scanners expect the server's order; all suites offered are strong.
    config.ignore_client_order = true;
    // Tickets hold the sessions.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
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

/// All identities, by the names in their certificates.
#[derive(Debug)]
struct Identities {
    keys: Vec<Arc<CertifiedKey>>,
    /// In lower case; `*.` begins a name that stands for all with one label in its place. ECDSA keys come first: their
    /// handshakes cost least.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl Identities {
    fn new(identities: &[Identity], provider: &CryptoProvider) -> Result<Self, String> {
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
        let is_not_ecdsa =
            |key: &Arc<CertifiedKey>| key.key.algorithm() != SignatureAlgorithm::ECDSA;
        by_name
            .values_mut()
            .for_each(|keys| keys.sort_by_key(is_not_ecdsa));
        Ok(Self { keys, by_name })
    }

    /// The best one for a client that asks for `name` and can verify these kinds of signatures.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Arc<CertifiedKey> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
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
        named.or_else(any).unwrap_or(&self.keys[0]).clone()
    }
}

/// The key of an identity, and the names that clients may ask for.
fn read(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, Vec<String>), String> {
    let leaf = identity.chain.first().ok_or("no certificate")?;
    let names = Names::of(leaf).ok_or("its certificate cannot be read")?;
    let kind = x509::key_kind(leaf).ok_or("its certificate cannot be read")?;
    if !kind.is_supported() {
        let name = names.first().unwrap_or("no name");
        return Err(format!("certificate of {name:?}: {kind}; {SUPPORTED}"));
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
    Ok((key, names.for_clients()))
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

impl ResolvesServerCert for Identities {
    fn resolve(&self, client: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = client.server_name();
        ASKED_FOR.set(name.map(Box::from));
        Some(self.choose(name, client.signature_schemes()))
    }
}
