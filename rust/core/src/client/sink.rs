//! The client's only way out: upcalls to the embedder.

use super::decode::Version;
use super::error::CallError;
use super::headers::Headers;
use crate::net::hosted::{TransportHost, TransportId};

/// Id of a call, chosen by the embedder, unique in the process.
pub type CallId = u64;

/// Head of a response as it is handed out.
pub struct Head<'a> {
    /// 101, 200-999
    pub status: u16,
    /// The peer's HTTP version.
    pub version: Version,
    /// Lower-case names, in order of arrival.
    pub headers: &'a Headers,
    /// Trailers are among the headers.
    pub trailers: bool,
    /// The content coding is undone.
    pub decoded: bool,
    /// An earlier call used the same connection.
    pub reused: bool,
    /// The connection uses rustls.
    pub tls: bool,
    /// The embedder runs the connection.
    pub hosted: bool,
}

/// The loop's upcalls; called on the loop thread, must not block.
///
/// Each may be refused (no memory), which fails the call. A refused failure is reported again until it is accepted.
pub trait Sink: TransportHost {
    /// A buffered call is complete.
    #[must_use]
    fn on_response(&self, call: CallId, head: &Head<'_>, body: &[u8]) -> bool;
    /// A streamed call's head; again before `on_end` if there were trailers.
    #[must_use]
    fn on_head(&self, call: CallId, head: &Head<'_>) -> bool;
    /// Bytes of collected responses that the embedder has room for now, in total. Asked now and then while they grow.
    fn room(&self) -> u64;
    /// A piece of a streamed body. One may be empty: a gzip header was read, but no data yet.
    #[must_use]
    fn on_body(&self, call: CallId, data: &[u8]) -> bool;
    /// A streamed call is complete.
    #[must_use]
    fn on_end(&self, call: CallId) -> bool;
    /// The call failed. `transport` carried it, if there was one, and is closed.
    #[must_use]
    fn on_failure(&self, call: CallId, error: &CallError, transport: Option<TransportId>) -> bool;
    /// A streamed upload may send `n` more bytes. The first credit means that the connection is established.
    #[must_use]
    fn on_send_credit(&self, call: CallId, n: usize) -> bool;
}
