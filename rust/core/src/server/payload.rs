//! What user code sends: bytes that are borrowed, shared, or kept elsewhere until the peer takes them.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Below this size, a copy is cheaper than a vectored write.
const SHORT: usize = 16 * 1024;

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

/// The first piece of a response's body, or all of it.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Apart(&'a [u8]),
    /// All but the first `room` bytes, which are for the head.
    Behind {
        bytes: &'a mut [u8],
        room: usize,
    },
}

impl Body<'_> {
    pub(super) const EMPTY: Self = Self::Apart(&[]);

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Apart(bytes) => bytes.len(),
            Self::Behind { bytes, room } => bytes.len() - room,
        }
    }

    /// Head and body, as one slice if that is cheaper than writing two.
    pub(super) fn join<'b>(&'b mut self, head: &'b mut Vec<u8>) -> (&'b [u8], &'b [u8]) {
        match self {
            Self::Apart(bytes) if bytes.len() < SHORT => {
                head.extend_from_slice(bytes);
                (head, &[])
            }
            Self::Apart(bytes) => (head, bytes),
            Self::Behind { bytes, room } => match room.checked_sub(head.len()) {
                Some(start) => {
                    bytes[start..*room].copy_from_slice(head);
                    (&bytes[start..], &[])
                }
                None => (head, &bytes[*room..]),
            },
        }
    }
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
