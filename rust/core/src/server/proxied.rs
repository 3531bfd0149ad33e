//! The PROXY header before a connection's first request, with which a balancer tells who the client is.
//!
//! Not here: how one is written (`h1/proxy.rs`).

use std::net::SocketAddr;

use crate::error::Violation;
use crate::h1::proxy::{self, ProxyHeader, ProxyMode, ProxyOutcome};

/// What a balancer says about a connection's client.
#[derive(Debug)]
pub(super) enum Proxied {
    /// A header may still come.
    Expected,
    /// It has come, or none will.
    Done(Option<Box<ProxyHeader>>),
}

impl Proxied {
    pub(super) fn new(mode: ProxyMode) -> Self {
        match mode {
            ProxyMode::Disable => Self::Done(None),
            _ => Self::Expected,
        }
    }

    pub(super) fn is_expected(&self) -> bool {
        matches!(self, Self::Expected)
    }

    pub(super) fn header(&self) -> Option<&ProxyHeader> {
        match self {
            Self::Done(header) => header.as_deref(),
            Self::Expected => None,
        }
    }

    /// The client's address, as the header gave it.
    pub(super) fn source(&self) -> Option<SocketAddr> {
        self.header()?.source
    }

    /// Whether the header says that the client came to the balancer through TLS.
    pub(super) fn came_through_tls(&self) -> bool {
        self.header().is_some_and(|header| header.tls)
    }

    /// Reads the header with which `bytes`, the connection's first, may begin, and returns its length: 0 if there is
    /// none, `None` if more must arrive.
    pub(super) fn take(
        &mut self,
        mode: ProxyMode,
        bytes: &[u8],
    ) -> Result<Option<usize>, Violation> {
        if !self.is_expected() {
            return Ok(Some(0));
        }
        let header = match proxy::parse(bytes, mode)? {
            ProxyOutcome::NeedMore => return Ok(None),
            ProxyOutcome::None => None,
            ProxyOutcome::Header(header) => Some(Box::new(header)),
        };
        let len = header.as_ref().map_or(0, |header| header.len);
        *self = Self::Done(header);
        Ok(Some(len))
    }

    /// `bytes` without the header, if they begin with it.
    pub(super) fn skip<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        match self.header() {
            Some(header) if proxy::is_header(bytes) => bytes.get(header.len..).unwrap_or_default(),
            _ => bytes,
        }
    }
}
