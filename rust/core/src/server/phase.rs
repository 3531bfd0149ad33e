//! What a connection is doing. Receiving and responding are two activities: each has its own state, and neither is
//! told from the other.

use super::inbound::Terms;
use super::session::Session;

#[derive(Debug)]
pub(super) enum Phase {
    /// Requests come, and responses go.
    Http(Receiving, Responding),
    WebSocket(Box<Session>),
    /// The last response is sent or queued; once it is flushed, the peer may end.
    Lingering,
    Closed,
}

/// What is made of the bytes that arrive.
#[derive(Debug, Clone, Copy)]
pub(super) enum Receiving {
    /// They are parsed: between requests, or while one arrives.
    Requests,
    /// They are kept, since they are behind a request that has arrived and has no whole response yet.
    Behind,
    /// They are kept, since the peer has yet to read many of its responses.
    HeldBack,
}

/// What is done for the request that has arrived last.
#[derive(Debug, Clone, Copy)]
pub(super) enum Responding {
    /// It has its whole response, or there was none yet.
    Idle,
    /// It is with user code, nothing of the response is sent.
    Due(Terms),
    /// A response of known length is being sent; this much of its body is to come.
    Sending(Terms, u64),
    /// A response of unknown length is being sent.
    Streaming(Terms),
}

impl Phase {
    /// A request has arrived.
    pub(super) fn begun(terms: Terms) -> Self {
        Self::Http(Receiving::Behind, Responding::Due(terms))
    }

    /// A part of the response is sent.
    pub(super) fn go_on(&mut self, with: Responding) {
        if let Self::Http(_, responding) = self {
            *responding = with;
        }
    }

    /// What the response has to be like that is not begun.
    pub(super) fn due(&self) -> Option<Terms> {
        match self {
            Self::Http(_, Responding::Due(terms)) => Some(*terms),
            _ => None,
        }
    }

    /// What a response of known length has to be like, and how much of its body is to come.
    pub(super) fn sending(&self) -> Option<(Terms, u64)> {
        match self {
            Self::Http(_, Responding::Sending(terms, left)) => Some((*terms, *left)),
            _ => None,
        }
    }

    /// What a response of unknown length has to be like that has begun.
    pub(super) fn streaming(&self) -> Option<Terms> {
        match self {
            Self::Http(_, Responding::Streaming(terms)) => Some(*terms),
            _ => None,
        }
    }

    /// Whether user code has yet to respond, in part or altogether.
    pub(super) fn owes_response(&self) -> bool {
        matches!(self, Self::Http(_, responding) if !matches!(responding, Responding::Idle))
    }

    /// Whether no more is to be sent than what is queued.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self, Self::Lingering | Self::Closed)
    }
}
