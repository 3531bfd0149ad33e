//! A request whose head has arrived: the terms of its response, and its body so far.

use super::body::{Rest, Stream};
use super::config::Config;
use super::request::Draft;
use crate::h1::{RequestHead, Version};

/// How a response must be sent, as its request determines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) head: bool,
    pub(super) version: Version,
    /// The request asks for the connection's end, or its own end is in doubt.
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// The connection ends after this response, whose head is sent.
    pub(super) last: bool,
}

impl Terms {
    pub(super) fn of(head: &RequestHead) -> Self {
        Self {
            head: head.is_head(),
            version: head.version,
            close: head.close,
            keep_alive: head.keep_alive,
            upgrade: head.upgrade_websocket,
            last: false,
        }
    }

    /// Whether the peer knows that the connection ends, since it asked for that: it sends nothing more.
    pub(super) fn asks_for_end(&self) -> bool {
        self.close || self.version == Version::Http10 && !self.keep_alive
    }
}

/// A peer that sends less of a body than this in a long time may only be holding resources.
pub(super) const LEAST_RECEIVED: usize = 1024;

/// A request whose body is still arriving, and which user code gets once it is complete.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) draft: Draft,
    pub(super) terms: Terms,
    pub(super) rest: Rest,
    pub(super) continued: bool,
    /// Bytes received since they last were [`LEAST_RECEIVED`].
    pub(super) recent: usize,
}

impl Partial {
    pub(super) fn new(draft: Draft, head: &RequestHead, rest: Rest) -> Self {
        Self {
            draft,
            terms: Terms::of(head),
            rest,
            continued: !head.expect_continue,
            recent: 0,
        }
    }

    /// Whether user code gets the request now, with its body as a stream. `complete`: all of it has arrived.
    pub(super) fn is_streamed(&self, config: &Config, complete: bool) -> bool {
        let Some(limit) = config.request_buffer else {
            return false;
        };
        let so_far = self.draft.body_len() as u64;
        let known = match &self.rest {
            Rest::Length(left) => so_far + left,
            Rest::Chunked(_) => so_far,
        };
        // A peer that asks first wants to know before it sends anything.
        let asks = !self.continued && so_far == 0 && matches!(self.rest, Rest::Chunked(_));
        known > limit as u64 || (asks && !complete)
    }

    pub(super) fn into_stream(mut self, complete: bool) -> (Draft, Terms, Stream) {
        let so_far = self.draft.body_len() as u64;
        self.draft.body_follows(match &self.rest {
            Rest::Length(left) => Some(so_far + left),
            Rest::Chunked(_) => None,
        });
        // The bytes after its head are a body's, and no frames.
        let terms = Terms {
            upgrade: false,
            ..self.terms
        };
        let stream = Stream::new(self.rest, complete, self.continued || so_far > 0);
        (self.draft, terms, stream)
    }
}
