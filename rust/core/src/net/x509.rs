//! The names in a certificate (RFC 5280): subject common name, DNS names, and whether there are IP addresses; its
//! issuer; the kind of its key. rustls checks names itself but neither falls back to the common name, as the JDK does,
//! nor reports the names found, and it does not compare distinguished names. It refuses keys without saying what they
//! are.

use std::fmt;

/// The names in a certificate.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The last one of the subject.
    pub common_name: Option<String>,
    /// Alternative names, in their order.
    pub dns: Vec<String>,
    /// Whether there are alternative names of any kind.
    pub has_alternatives: bool,
}

const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ALTERNATIVE_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 0x02;
const BITS: u8 = 0x03;
const OBJECT_ID: u8 = 0x06;
pub(super) const OCTETS: u8 = 0x04;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;

impl Names {
    /// The names in a DER certificate; `None` if it is not a certificate.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let mut body = from_subject(certificate)?;
        let subject = body.expect(SEQUENCE)?;
        body.expect(SEQUENCE)?;
        let mut names = Self {
            common_name: common_name(subject),
            ..Self::default()
        };
        while let Some((tag, content)) = body.next() {
            if tag == EXTENSIONS {
                names.read_extensions(content);
            }
        }
        Some(names)
    }

    /// One of them, for messages.
    pub fn first(&self) -> Option<&str> {
        let first = self.dns.first().or(self.common_name.as_ref());
        first.map(String::as_str)
    }

    /// Those under which clients may ask for it, in lower case; the common name only if there are no DNS names.
    pub fn for_clients(mut self) -> Vec<String> {
        if self.dns.is_empty() {
            self.dns.extend(self.common_name);
        }
        self.dns
            .iter_mut()
            .for_each(|name| name.make_ascii_lowercase());
        self.dns
    }

    fn read_extensions(&mut self, extensions: &[u8]) -> Option<()> {
        let mut list = Der(Der(extensions).expect(SEQUENCE)?);
        while let Some((SEQUENCE, extension)) = list.next() {
            let mut extension = Der(extension);
            if extension.expect(OBJECT_ID)? != ALTERNATIVE_NAME {
                continue;
            }
            while let Some((tag, content)) = extension.next() {
                if tag == OCTETS {
                    self.read_alternatives(content);
                }
            }
        }
        Some(())
    }

    fn read_alternatives(&mut self, content: &[u8]) -> Option<()> {
        let mut list = Der(Der(content).expect(SEQUENCE)?);
        while let Some((tag, name)) = list.next() {
            self.has_alternatives = true;
            if tag == DNS_NAME {
                self.dns.push(String::from_utf8_lossy(name).into_owned());
            }
        }
        Some(())
    }
}

/// A certificate's fields from the subject on.
fn from_subject(certificate: &[u8]) -> Option<Der<'_>> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    let mut body = Der(certificate.expect(SEQUENCE)?);
    body.optional(VERSION);
    // serial, signature algorithm, issuer, validity
    for _ in 0..4 {
        body.next()?;
    }
    Some(body)
}

/// What kind of key a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Its modulus has this many bits.
    Rsa(usize),
    /// A named curve or another algorithm, and whether it is supported.
    Named(&'static str, bool),
}

impl KeyKind {
    /// Whether ring signs with such a key.
    pub fn is_supported(self) -> bool {
        match self {
            Self::Rsa(bits) => (2048..=4096).contains(&bits),
            Self::Named(_, supported) => supported,
        }
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA of {bits} bits"),
            Self::Named(name, _) => f.write_str(name),
        }
    }
}

const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
const EC: &[u8] = b"\x2a\x86\x48\xce\x3d\x02\x01";

/// The kind of key in a DER certificate; `None` if it is not a certificate.
pub fn key_kind(certificate: &[u8]) -> Option<KeyKind> {
    let mut body = from_subject(certificate)?;
    body.expect(SEQUENCE)?;
    let mut key = Der(body.expect(SEQUENCE)?);
    let mut algorithm = Der(key.expect(SEQUENCE)?);
    let key = key.expect(BITS)?;
    Some(match algorithm.expect(OBJECT_ID)? {
        // The first octet says how many bits of the last one are unused.
        RSA => KeyKind::Rsa(modulus_bits(key.get(1..)?)?),
        EC => match algorithm.expect(OBJECT_ID).unwrap_or_default() {
            b"\x2a\x86\x48\xce\x3d\x03\x01\x07" => KeyKind::Named("ECDSA P-256", true),
            b"\x2b\x81\x04\x00\x22" => KeyKind::Named("ECDSA P-384", true),
            b"\x2b\x81\x04\x00\x23" => KeyKind::Named("ECDSA P-521", false),
            b"\x2b\x81\x04\x00\x0a" => KeyKind::Named("ECDSA secp256k1", false),
            _ => KeyKind::Named("ECDSA on another curve", false),
        },
        b"\x2b\x65\x70" => KeyKind::Named("Ed25519", true),
        b"\x2b\x65\x71" => KeyKind::Named("Ed448", false),
        b"\x2a\x86\x48\xce\x38\x04\x01" => KeyKind::Named("DSA", false),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a" => KeyKind::Named("RSASSA-PSS", false),
        _ => KeyKind::Named("a key of another kind", false),
    })
}

fn modulus_bits(key: &[u8]) -> Option<usize> {
    let modulus = Der(Der(key).expect(SEQUENCE)?).expect(INTEGER)?;
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// The issuer's distinguished name, with its outer SEQUENCE.
pub fn issuer(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    let mut body = Der(certificate.expect(SEQUENCE)?);
    body.optional(VERSION);
    // serial, signature algorithm
    body.next()?;
    body.next()?;
    let from = body.0;
    body.expect(SEQUENCE)?;
    Some(&from[..from.len() - body.0.len()])
}

/// A distinguished name in a canonical form, in which equal names are the same bytes: letter case, leading and trailing
/// blanks, their number within, and string types are ignored, as in the JDK's `X500Principal`. Anything but a name is
/// returned unchanged.
pub fn comparable(name: &[u8]) -> Vec<u8> {
    relative_names(name).map_or_else(|| name.to_vec(), |parts| parts.concat())
}

fn relative_names(name: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    let mut sets = Der(Der(name).expect(SEQUENCE)?);
    while !sets.0.is_empty() {
        let mut set = Der(sets.expect(SET)?);
        let mut attributes = Vec::new();
        while !set.0.is_empty() {
            attributes.push(attribute(set.expect(SEQUENCE)?)?);
        }
        attributes.sort();
        // Marks the boundary: attributes begin with another byte.
        attributes.insert(0, vec![SET]);
        parts.push(attributes.concat());
    }
    Some(parts)
}

fn attribute(pair: &[u8]) -> Option<Vec<u8>> {
    let mut pair = Der(pair);
    let kind = pair.expect(OBJECT_ID)?;
    let (tag, value) = pair.next()?;
    let text = std::str::from_utf8(value).ok();
    let (tag, value) = match (tag, text) {
        (UTF8_STRING | PRINTABLE_STRING, Some(text)) => {
            let words: Vec<_> = text.split_whitespace().collect();
            (UTF8_STRING, words.join(" ").to_lowercase().into_bytes())
        }
        _ => (tag, value.to_vec()),
    };
    let mut out = vec![OBJECT_ID];
    for part in [kind, &[tag], &value] {
        out.extend_from_slice(&part.len().to_be_bytes());
        out.extend_from_slice(part);
    }
    Some(out)
}

/// The last common name, as the most specific one comes last.
fn common_name(subject: &[u8]) -> Option<String> {
    let mut found = None;
    let mut subject = Der(subject);
    while let Some((SET, set)) = subject.next() {
        let mut pair = Der(Der(set).expect(SEQUENCE)?);
        if pair.expect(OBJECT_ID)? == COMMON_NAME {
            let (_, value) = pair.next()?;
            found = Some(String::from_utf8_lossy(value).into_owned());
        }
    }
    found
}

/// Whether `host` is `pattern`, whose first label may be `*`.
pub fn matches(host: &str, pattern: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(rest) => host
            .split_once('.')
            .is_some_and(|(_, domain)| rest.contains('.') && domain.eq_ignore_ascii_case(rest)),
        None => host.eq_ignore_ascii_case(pattern),
    }
}

/// The version of X.509 that a DER certificate has.
pub fn version(certificate: &[u8]) -> Option<u32> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    match Der(certificate.expect(SEQUENCE)?).next()? {
        (VERSION, number) => Some(u32::from(*Der(number).expect(INTEGER)?.last()?) + 1),
        _ => Some(1),
    }
}

/// The serial number of a DER certificate.
pub fn serial(certificate: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der(Der(certificate).expect(SEQUENCE)?);
    let mut body = Der(certificate.expect(SEQUENCE)?);
    body.optional(VERSION);
    body.expect(INTEGER)
}

/// The rest of a DER value list.
pub struct Der<'a>(pub(super) &'a [u8]);

impl<'a> Der<'a> {
    pub(super) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let [tag, first, rest @ ..] = self.0 else {
            return None;
        };
        let (length, rest) = match *first {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let digits = usize::from(long & 0x7f);
                if digits == 0 || digits > 4 || rest.len() < digits {
                    return None;
                }
                let (digits, rest) = rest.split_at(digits);
                let length = digits
                    .iter()
                    .fold(0_usize, |sum, digit| sum << 8 | usize::from(*digit));
                (length, rest)
            }
        };
        let content = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((*tag, content))
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(tag, _)| *tag == wanted)
            .map(|(_, content)| content)
    }

    pub(super) fn optional(&mut self, tag: u8) {
        if self.0.first() == Some(&tag) {
            self.next();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn certificate() -> Vec<u8> {
        let names = ["a.test", "*.b.test", "10.0.0.1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "common");
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn names_are_found_where_they_are() {
        let names = Names::of(&certificate()).unwrap();
        // rcgen puts a common name of its own before ours.
        assert_eq!(names.common_name.as_deref(), Some("common"));
        assert_eq!(names.dns, ["a.test", "*.b.test"]);
        assert!(names.has_alternatives);
    }

    #[test]
    fn cut_and_changed_certificates_do_no_harm() {
        let whole = certificate();
        for at in 0..whole.len() {
            assert_eq!(Names::of(&whole[..at]), None);
            assert_eq!(issuer(&whole[..at]), None);
            assert_eq!(version(&whole[..at]), None);
            let mut changed = whole.clone();
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                changed[at] = byte;
                let _ = Names::of(&changed);
                let _ = issuer(&changed).map(comparable);
                let _ = version(&changed);
            }
        }
    }

    #[test]
    fn cut_names_are_compared_as_bytes() {
        let certificate = certificate();
        let name = issuer(&certificate).unwrap();
        assert_ne!(comparable(name), name);
        for at in 0..name.len() {
            assert_eq!(comparable(&name[..at]), &name[..at]);
        }
    }

    #[test]
    fn a_wildcard_is_one_whole_label() {
        assert!(matches("a.test", "A.TEST"));
        assert!(matches("x.b.test", "*.b.test"));
        for host in ["b.test", "x.y.b.test", "xb.test"] {
            assert!(!matches(host, "*.b.test"), "{host}");
        }
        assert!(!matches("x.test", "*.test"));
    }
}
