//! A WebSocket session, seen from outside: bytes in, events or a fault out.

mod differential;
mod frames;
mod properties;
mod rules;
