//! Which connections are interchangeable.

use std::net::{Ipv4Addr, SocketAddr};

use super::spec::{Address, CallSpec, Route};
use crate::net::tls::TlsMode;

/// The key of the per-host limit: the host as written, the port (or Unix socket) of the address that is connected to,
/// so the proxy's if there is one, and the route, with the host's own port through a tunnel. A host may have many
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct HostKey {
    place: Option<Address>,
    name: String,
    route: Route,
}

/// Connections with equal keys are interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PoolKey {
    pub host: HostKey,
    address: Option<Address>,
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
        let address = spec.addresses.first().cloned();
        Self {
            host: HostKey {
                place: address.clone().map(without_ip),
                name: spec.host.clone(),
                route: spec.route.clone(),
            },
            address,
            tls: spec.tls,
            tls_name,
            sni: spec.sni,
            policy: spec.policy,
            hosted: spec.hosted,
        }
    }
}

fn without_ip(address: Address) -> Address {
    match address {
        Address::Inet(address) => {
            Address::Inet(SocketAddr::from((Ipv4Addr::UNSPECIFIED, address.port())))
        }
        unix => unix,
    }
}
