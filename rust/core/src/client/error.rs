//! How a call can fail: a kind for the embedder to map, a text for the user.

use crate::net::hosted::{self, EarlyBytes};
use crate::net::tls::TlsFailure;
use std::borrow::Cow;
use std::io;

/// What kind of failure ended a call; each has one exception class above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Any other I/O failure.
    Io,
    /// The connection attempt itself failed (refused, timed out in the kernel).
    Connect,
    /// The connection broke (reset).
    Socket,
    /// No route to the peer.
    NoRoute,
    /// The local address could not be bound.
    Bind,
    /// One of the call's own timeouts.
    Timeout,
    /// The peer broke HTTP, or a proxy refused.
    Protocol,
    /// A line of the response exceeds the limit.
    LineTooLarge,
    /// The heads of the response exceed the limit.
    HeadersTooLarge,
    /// A limit of the caller refused the body.
    Abort,
    /// The content coding is corrupt.
    Zip,
    /// The content coding is truncated.
    Eof,
    /// The TLS handshake failed, including certificate checks.
    SslHandshake,
    /// TLS failed otherwise.
    Ssl,
    /// The client was stopped.
    Stopped,
    /// The caller cancelled the call.
    Cancelled,
    /// A hosted transport failed; its owner knows why.
    Hosted,
    /// The caller's data are unusable.
    Argument,
    /// A bug in this library.
    Internal,
    /// A buffered body exceeds its limit, or the size of an array.
    TooLarge,
    /// The source of a streamed upload failed; its owner knows why.
    SourceFailed,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// Which exception it becomes.
    pub kind: ErrorKind,
    /// The exception's text.
    pub message: Cow<'static, str>,
}

impl CallError {
    /// An error with a fixed or formatted text.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn protocol(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Protocol, message)
    }

    /// The peer ended the connection inside a response.
    pub(crate) fn unexpected_eof() -> Self {
        Self::protocol("Unexpected EOF before response completed")
    }

    pub(crate) fn stopped() -> Self {
        Self::new(ErrorKind::Stopped, "HTTP client is stopped")
    }

    pub(crate) fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "request was cancelled")
    }

    /// The embedder could not accept a response.
    pub(crate) fn refused() -> Self {
        Self::internal("the response was not taken over: out of memory")
    }

    /// There is no memory for a buffered body.
    pub(crate) fn too_large() -> Self {
        Self::new(ErrorKind::TooLarge, "Content too large")
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Maps a socket error to the JDK's words.
    pub(crate) fn from_io(error: &io::Error) -> Self {
        use io::ErrorKind as Io;
        if hosted::is_hosted(error) {
            return Self::new(ErrorKind::Hosted, "foreign transport failed");
        }
        if error
            .get_ref()
            .is_some_and(|inner| inner.is::<EarlyBytes>())
        {
            return Self::new(ErrorKind::SslHandshake, EarlyBytes.to_string());
        }
        if let Some(failure) = TlsFailure::of(error) {
            let kind = match failure.handshake {
                true => ErrorKind::SslHandshake,
                false => ErrorKind::Ssl,
            };
            return Self::new(kind, failure.message);
        }
        if error.kind() == Io::UnexpectedEof {
            return Self::unexpected_eof();
        }
        let (kind, text) = match error.kind() {
            Io::ConnectionRefused => (ErrorKind::Connect, "Connection refused"),
            Io::TimedOut => (ErrorKind::Connect, "Connection timed out"),
            Io::ConnectionReset | Io::ConnectionAborted => (ErrorKind::Socket, "Connection reset"),
            Io::NetworkUnreachable => (ErrorKind::Socket, "Network is unreachable"),
            Io::HostUnreachable => (ErrorKind::NoRoute, "No route to host"),
            Io::AddrNotAvailable => (ErrorKind::Bind, "Cannot assign requested address"),
            Io::AddrInUse => (ErrorKind::Bind, "Address already in use"),
            Io::PermissionDenied => (ErrorKind::Bind, "Permission denied"),
            Io::NotFound => (ErrorKind::Socket, "No such file or directory"),
            Io::BrokenPipe => (ErrorKind::Io, "Broken pipe"),
            _ => return Self::new(ErrorKind::Io, os_text(error)),
        };
        Self::new(kind, text)
    }
}

/// The system's text without Rust's ` (os error N)` suffix.
fn os_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
