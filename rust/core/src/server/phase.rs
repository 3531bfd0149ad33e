//! What a connection is doing. Receiving and responding are independent activities: neither state follows from the
//! other.

use std::sync::Arc;

use parking_lot::Mutex;

use super::coding::Coder;
use super::heartbeat::Heartbeat;
use super::partial::Terms;
use super::session::Session;

#[derive(Debug)]
pub(super) enum Phase {
    /// Requests are received, and responses are sent.
    Http(Receiving, Responding),
    WebSocket(Box<Session>),
    /// The last response is queued: flush it, then wait for the peer to close.
    Lingering,
    Closed,
}

/// What happens to received bytes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Receiving {
    /// They are parsed: between requests, or while one arrives.
    Requests,
    /// They belong to the body of the current request, which user code reads.
    Body,
    /// They are kept: the request before them has no complete response yet. Behind a body that has failed, they are
    /// dropped.
    Behind,
    /// They are kept: the peer has too many unread response bytes.
    HeldBack,
}

/// How far the response to the current request is.
#[derive(Debug)]
pub(super) enum Responding {
    /// The response is complete, or there was no request yet.
    Idle,
    /// User code has the request; nothing of the response has been sent.
    Due(Terms),
    /// A response of known length is being sent; the number is what remains of its body.
    Sending(Terms, u64),
    /// A response of unknown length is being sent.
    Streaming(Terms, Option<Box<Extras>>),
}

/// What few streams have.
#[derive(Debug, Default)]
pub(super) struct Extras {
    pub(super) heartbeat: Option<Heartbeat>,
    /// Locked before the connection, by threads that send; the loop only tries.
    pub(super) coder: Option<Arc<Mutex<Coder>>>,
}

impl Extras {
    pub(super) fn coding(coder: Coder) -> Box<Self> {
        Box::new(Self {
            coder: Some(Arc::new(Mutex::new(coder))),
            ..Self::default()
        })
    }
}

impl Phase {
    /// A request has arrived.
    pub(super) fn begun(receiving: Receiving, terms: Terms) -> Self {
        Self::Http(receiving, Responding::Due(terms))
    }

    /// No more of the current request's body is expected.
    pub(super) fn body_is_over(&mut self) {
        if let Self::Http(receiving, _) = self {
            *receiving = Receiving::Behind;
        }
    }

    /// The response has advanced to `with`.
    pub(super) fn go_on(&mut self, with: Responding) {
        if let Self::Http(_, responding) = self {
            *responding = with;
        }
    }

    /// The terms of a response that has not begun.
    pub(super) fn due(&self) -> Option<Terms> {
        match self {
            Self::Http(_, Responding::Due(terms)) => Some(*terms),
            _ => None,
        }
    }

    /// The terms of a begun response of known length, and how much of its body remains.
    pub(super) fn sending(&self) -> Option<(Terms, u64)> {
        match self {
            Self::Http(_, Responding::Sending(terms, left)) => Some((*terms, *left)),
            _ => None,
        }
    }

    /// The terms of a begun response of unknown length.
    pub(super) fn streaming(&self) -> Option<Terms> {
        match self {
            Self::Http(_, Responding::Streaming(terms, _)) => Some(*terms),
            _ => None,
        }
    }

    /// State of a begun response of unknown length, besides its terms.
    pub(super) fn extras(&mut self) -> Option<&mut Extras> {
        match self {
            Self::Http(_, Responding::Streaming(_, extras)) => extras.as_deref_mut(),
            _ => None,
        }
    }

    /// Whether a response is due or incomplete.
    pub(super) fn owes_response(&self) -> bool {
        matches!(self, Self::Http(_, responding) if !matches!(responding, Responding::Idle))
    }

    /// Whether nothing will be sent beyond what is queued.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Self::Lingering | Self::Closed)
    }
}
