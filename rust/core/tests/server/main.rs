//! The server over loopback sockets: what peers and embedders see of it.

mod support;

mod half_close;
mod stop;
mod websocket;
