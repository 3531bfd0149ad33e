//! What we read of a TLS handshake ourselves: how much of a client's hello has arrived, and what is in a certificate.

use httpkit_core::net::x509::{self, Names};
use httpkit_core::server::hello::Hello;

// The first byte says which of them, and the size of a hello's pieces; of a certificate, how much is cut off.
pub fn run(data: &[u8]) {
    let Some((&first, bytes)) = data.split_first() else {
        return;
    };
    let size = usize::from(first / 2) + 1;
    match first % 2 {
        0 => hello(bytes, size),
        _ => certificate(bytes, size),
    }
}

/// What it is does not depend on how much more has arrived.
fn hello(bytes: &[u8], size: usize) {
    let mut known = Hello::Partial;
    for end in (0..bytes.len()).step_by(size).chain([bytes.len()]) {
        let now = Hello::of(&bytes[..end]);
        assert!(
            known == Hello::Partial || now == known,
            "{known:?}, {now:?}"
        );
        known = now;
    }
}

/// What it says, or nothing if it is cut; what follows it does not matter.
fn certificate(bytes: &[u8], cut: usize) {
    let facts = facts(bytes);
    let Some(names) = Names::of(bytes) else {
        return;
    };
    assert_eq!(self::facts(&[bytes, b"more"].concat()), facts);
    for host in names.first().into_iter().chain(["a.test", "x.b.test"]) {
        for pattern in names.dns.iter().chain(&names.common_name) {
            let fits = x509::matches(host, pattern);
            assert!(!fits || pattern.starts_with("*.") || host.eq_ignore_ascii_case(pattern));
        }
    }
    for name in names.for_clients() {
        assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()));
    }
    if let Some(issuer) = x509::issuer(bytes) {
        assert!(bytes.windows(issuer.len()).any(|part| part == issuer));
        let cut = issuer.len().saturating_sub(cut);
        assert_eq!(x509::comparable(&issuer[..cut]), &issuer[..cut]);
    }
}

fn facts(bytes: &[u8]) -> String {
    let issuer = x509::issuer(bytes).map(x509::comparable);
    let kind = x509::key_kind(bytes).map(|kind| (kind.to_string(), kind.is_supported()));
    let (version, serial) = (x509::version(bytes), x509::serial(bytes));
    let names = Names::of(bytes);
    format!("{names:?} {issuer:?} {kind:?} {version:?} {serial:?}")
}
