//! What user code sends: bytes that are borrowed, shared, or kept elsewhere until the peer takes them.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Bytes kept elsewhere, and copied as the peer takes them.
pub trait Source: Send + Sync + fmt::Debug {
    /// Fills `to` with the bytes from `at` on. Never called for bytes beyond the end of its [`Kept`] part. A
    /// connection's lock is held meanwhile.
    fn copy(&self, at: usize, to: &mut [u8]) -> io::Result<()>;

    /// Whether the bytes are in native memory.
    fn is_native(&self) -> bool {
        false
    }
}

/// A part of a [`Source`].
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where the bytes come from.
    pub source: Arc<dyn Source>,
    /// Where they begin in the source.
    pub at: usize,
    /// How many bytes.
    pub len: usize,
}

/// Bytes to be sent on a channel.
#[derive(Debug)]
pub enum Payload<'a> {
    /// What the socket does not accept is copied.
    Borrowed(&'a [u8]),
    /// What the socket does not accept is kept without a copy.
    Shared(Arc<Vec<u8>>),
}

/// Shared bytes as the owner of a [`Bytes`].
pub(super) struct SharedBytes(pub(super) Arc<Vec<u8>>);

impl AsRef<[u8]> for SharedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Borrowed(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Borrowed(bytes)
    }
}

impl From<Arc<Vec<u8>>> for Payload<'_> {
    fn from(bytes: Arc<Vec<u8>>) -> Self {
        Self::Shared(bytes)
    }
}

impl std::ops::Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}
