//! The server over loopback sockets: what peers and embedders see of it.

mod support;

mod connections;
mod encoded;
mod file;
mod half_close;
mod heartbeat;
mod held_up;
mod lead;
mod limits;
mod pipelining;
mod responding;
mod stop;
mod stream;
mod unix;
mod unread;
mod websocket;
mod work;
