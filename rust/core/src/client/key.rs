//! Which connections are interchangeable.

use super::spec::{Address, CallSpec, Route};
use crate::net::tls::TlsMode;

/// The key of the per-host limit: the host as written, its addresses and the route to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    address: Option<Address>,
    name: String,
    route: Route,
}

/// Connections with equal keys are interchangeable.
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
