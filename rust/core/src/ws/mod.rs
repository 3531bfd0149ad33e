//! WebSocket, server side: RFC 6455 as pure functions.
//!
//! [`Decoder`] turns the bytes of one connection into [`Event`]s or one [`Fault`]; [`encode`], [`header`] and
//! [`close_payload`] produce the bytes to send. tungstenite parses and formats the frame headers; assembly, unmasking,
//! UTF-8, strictness and limits are ours, because its own session keeps a read buffer per socket.
//!
//! Not here: sockets, when pongs are sent, when a closing handshake times out (`server`), and whether a request may be
//! upgraded at all (the embedder decides, from the request that its handler saw).

mod close;
mod decoder;
mod frame;

pub use close::{MAX_REASON, close_payload, valid_close_code};
pub use decoder::{Decoder, Event};
pub use frame::{MAX_CONTROL, Opcode, encode, header};

/// A rule that the peer broke: the connection sends `code` in a close frame and closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// 1002 protocol, 1007 not UTF-8, 1009 too big (RFC 6455 7.4.1).
    pub code: u16,
    /// For the log; never sent.
    pub message: String,
}

impl Fault {
    fn protocol(message: impl Into<String>) -> Self {
        Fault {
            code: 1002,
            message: message.into(),
        }
    }

    fn not_utf8(what: &str) -> Self {
        Fault {
            code: 1007,
            message: format!("{what} is not UTF-8"),
        }
    }

    fn too_big(size: u64, limit: u64) -> Self {
        Fault {
            code: 1009,
            message: format!("message of {size} bytes, limit {limit}"),
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}
