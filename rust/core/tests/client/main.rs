//! The client over loopback sockets, and its decoder on its own.

mod ceiling;
mod certificates;
mod support;

mod churn;
mod coding;
mod decode;
mod direct;
mod direct_stress;
mod early;
mod hosted;
mod identity;
#[cfg(unix)]
mod paused;
mod pool;
mod proxy;
mod scarcity;
mod streams;
mod timeouts;
mod tls;
