//! Certificates made for a test, and what signs them.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, DnValue, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// A key pair with its certificate.
pub struct Identity {
    pub der: Vec<u8>,
    pub key: Vec<u8>,
}

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        Self::called("test authority")
    }

    pub fn called(name: &str) -> Self {
        let params = Self::params(name);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        let issuer = Issuer::new(params, key);
        Self { issuer, der }
    }

    pub fn params(name: impl Into<DnValue>) -> CertificateParams {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    /// An authority below this one.
    pub fn subordinate(&self, name: &str) -> Self {
        let params = Self::params(name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Self {
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// The DER list of the certificates with these serial numbers, which holds until the beginning of `until`, a year.
    #[allow(dead_code)] // Only the server's tests use it.
    pub fn revoked(&self, serials: &[u64], until: i32) -> Vec<u8> {
        let date = date_time_ymd(2020, 1, 1);
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date,
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    pub fn issue(&self, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        self.issue_for(&KeyPair::generate().unwrap(), change)
    }

    pub fn issue_for(
        &self,
        key: &KeyPair,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        change(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        Identity {
            der: certificate.der().to_vec(),
            key: key.serialize_der(),
        }
    }

    pub fn named(&self, names: &[&str]) -> Identity {
        self.named_for(&KeyPair::generate().unwrap(), names)
    }

    pub fn named_for(&self, key: &KeyPair, names: &[&str]) -> Identity {
        self.issue_for(key, |params| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            params.subject_alt_names = CertificateParams::new(names).unwrap().subject_alt_names;
        })
    }
}
