//! The client's only way out: what the loop tells the embedder.

use super::decode::Version;
use super::error::CallError;
use super::headers::Headers;
use crate::net::foreign::{TransportHost, TransportId};

/// Name of a call, chosen by the embedder, unique in the process.
pub type CallId = u64;

/// Head of a response as it is handed out.
pub struct Head<'a> {
    /// 101, 200-999
    pub status: u16,
    /// Version that the peer spoke.
    pub version: Version,
    /// Lower-case names, in order of arrival.
    pub headers: &'a Headers,
    /// Trailers are among the headers.
    pub trailers: bool,
    /// The content coding is undone.
    pub decoded: bool,
    /// An earlier call used the same connection.
    pub reused: bool,
    /// The connection is rustls'.
    pub tls: bool,
    /// The connection is the embedder's.
    pub hosted: bool,
}

/// The loop's way out; called on the loop thread, must not block.
///
/// Each may be refused (no memory): that fails the call. A refused failure is
/// reported again until it is taken.
pub trait Sink: TransportHost {
    /// A buffered call is complete.
    #[must_use]
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool;
    /// A streamed call's head; again before `on_end` when trailers came.
    #[must_use]
    fn on_head(&self, call: CallId, head: &Head<'_>) -> bool;
    /// Bytes of collected responses that the embedder could take now, all of
    /// them together. Asked now and then while they grow.
    fn room(&self) -> u64;
    /// A piece of a streamed body. Once it may be empty: a gzip header was
    /// read and no data yet.
    #[must_use]
    fn on_body(&self, call: CallId, data: &[u8]) -> bool;
    /// A streamed call is complete.
    #[must_use]
    fn on_end(&self, call: CallId) -> bool;
    /// The call failed; `transport` carried it, if one did, and is closed.
    #[must_use]
    fn on_failure(&self, call: CallId, error: &CallError, transport: Option<TransportId>) -> bool;
    /// A streamed upload may send `n` more bytes. The first credit says that
    /// the connection stands.
    #[must_use]
    fn on_send_credit(&self, call: CallId, n: usize) -> bool;
}
