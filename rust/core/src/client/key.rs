//! Which connections are interchangeable.

use super::spec::{Address, CallSpec, Route};
use crate::net::tls::TlsMode;

/// What the limit per host counts: the host as written, where it is and the
/// way there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    address: Option<Address>,
    name: String,
    route: Route,
}

/// What makes two connections the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub host: HostKey,
    tls: Option<TlsMode>,
    tls_name: String,
    sni: bool,
    policy: i64,
    hosted: bool,
}

impl PoolKey {
    pub(super) fn of(spec: &CallSpec) -> Self {
        let tls_name = match spec.tls {
            Some(_) => spec.tls_name.clone(),
            None => String::new(),
        };
        Self {
            host: HostKey {
                address: spec.addresses.first().cloned(),
                name: spec.host.clone(),
                route: spec.route.clone(),
            },
            tls: spec.tls,
            tls_name,
            sni: spec.sni,
            policy: spec.policy,
            hosted: spec.hosted,
        }
    }
}
