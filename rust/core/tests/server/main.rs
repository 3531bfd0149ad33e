//! The server over loopback sockets: what peers and embedders see of it.

#[allow(dead_code)] // The client's tests use all of it.
#[path = "../client/certificates.rs"]
mod certificates;
mod support;
mod tls_support;

mod access;
mod body;
mod broadcast;
mod budget;
mod compressed;
mod connections;
mod encoded;
mod file;
mod half_close;
mod heartbeat;
mod held_up;
mod last;
mod lead;
mod lent;
mod limits;
mod pipelining;
mod responding;
mod stop;
mod stop_unread;
mod stream;
mod tls;
mod tls_closing;
mod tls_identities;
mod tls_plain;
mod tls_revoked;
mod tls_signing;
mod tls_slow;
mod unix;
mod unread;
mod websocket;
mod work;
