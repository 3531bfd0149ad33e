//! From received bytes to complete requests, which are drafts until they have an exchange.
//!
//! Not here: what a connection does with them (`receiving.rs`).

use std::cell::RefCell;
use std::net::SocketAddr;

use super::config::Config;
use super::request::Draft;
use crate::error::Violation;
use crate::h1::proxy::{self, ProxyHeader, ProxyMode, ProxyOutcome};
use crate::h1::{BodyFraming, ChunkedDecoder, HeadParser, RequestHead, Version};

thread_local! {
    /// Most heads arrive whole, and then a connection needs no parser and no buffer of its own.
    static HEAD: RefCell<Head> = RefCell::new(Head::default());
}

/// How a response must be sent, as its request determines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) head: bool,
    pub(super) version: Version,
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
}

impl Terms {
    fn of(head: &RequestHead) -> Self {
        Self {
            head: head.is_head(),
            version: head.version,
            close: head.close,
            keep_alive: head.keep_alive,
            upgrade: head.upgrade_websocket,
        }
    }
}

/// A head, and how far it has been parsed.
#[derive(Debug, Default)]
struct Head {
    parser: HeadParser,
    head: RequestHead,
}

/// What has to arrive next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The first byte of a request.
    Request,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// A peer that sends less of a body than this in a long time may only be holding resources.
const LEAST_RECEIVED: usize = 1024;

/// Bytes and parser state between reads. Holds no buffer between requests.
#[derive(Debug)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    start: usize,
    /// A head that has arrived in part.
    head: Option<Box<Head>>,
    partial: Option<Box<Partial>>,
    proxy: Proxy,
    /// What arrives here came through TLS.
    secured: bool,
    /// The peer broke a rule: further input is dropped.
    refused: bool,
    /// It did so in a HEAD request.
    refused_head: bool,
}

#[derive(Debug)]
enum Proxy {
    Expected,
    Done(Option<Box<ProxyHeader>>),
}

/// A request whose body is still arriving.
#[derive(Debug)]
struct Partial {
    draft: Draft,
    terms: Terms,
    rest: Rest,
    continued: bool,
    /// Bytes received since they last were [`LEAST_RECEIVED`].
    recent: usize,
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// A request, the terms of its response, and the decoder that has its trailers.
pub(super) type Parsed = (Draft, Terms, Option<ChunkedDecoder>);

impl Inbound {
    pub(super) fn new(config: &Config) -> Self {
        let proxy = match config.proxy {
            ProxyMode::Disable => Proxy::Done(None),
            _ => Proxy::Expected,
        };
        Self {
            bytes: Vec::new(),
            start: 0,
            head: None,
            partial: None,
            proxy,
            secured: false,
            refused: false,
            refused_head: false,
        }
    }

    /// What arrives from now on came through TLS.
    pub(super) fn secured(&mut self) {
        self.secured = true;
    }

    /// Bytes received and not yet parsed.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.partial.is_none()
    }

    /// Whether a PROXY header may still come.
    pub(super) fn awaits_proxy(&self) -> bool {
        matches!(self.proxy, Proxy::Expected)
    }

    /// The client's address as a PROXY header gave it.
    pub(super) fn proxied_source(&self) -> Option<SocketAddr> {
        match &self.proxy {
            Proxy::Done(Some(header)) => header.source,
            _ => None,
        }
    }

    pub(super) fn awaited(&self) -> Awaited {
        match &self.partial {
            Some(_) => Awaited::Body,
            // One empty line may precede a request; old clients send it after a body.
            None if matches!(&self.bytes[self.start..], [] | b"\r\n") => Awaited::Request,
            None => Awaited::Head,
        }
    }

    /// Whether a body has grown by enough to count, with these received bytes.
    pub(super) fn is_progress(&mut self, received: usize) -> bool {
        self.partial.as_mut().is_some_and(|partial| {
            partial.recent += received;
            let enough = partial.recent >= LEAST_RECEIVED;
            if enough {
                partial.recent = 0;
            }
            enough
        })
    }

    /// Whether the peer may still be sending something that we will not use.
    pub(super) fn is_unfinished(&self) -> bool {
        self.refused || !self.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.head = None;
        self.partial = None;
    }

    /// Drops kept bytes and all further input.
    pub(super) fn refuse(&mut self) {
        self.clear();
        self.refused = true;
    }

    pub(super) fn keep(&mut self, fresh: &[u8]) {
        self.bytes.extend_from_slice(fresh);
    }

    /// Takes all kept bytes.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    /// The next request in the kept bytes and `fresh`, which come from `peer`. Bytes after it are kept.
    pub(super) fn parse(
        &mut self,
        config: &Config,
        peer: Option<SocketAddr>,
        fresh: &[u8],
    ) -> Result<Option<Parsed>, Violation> {
        if self.waiting() == 0 {
            self.bytes.clear();
            self.start = 0;
            let (used, parsed) = self.consume(config, peer, fresh)?;
            self.bytes.extend_from_slice(&fresh[used..]);
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
            return Ok(parsed);
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(fresh);
        let consumed = self.consume(config, peer, &bytes[self.start..]);
        self.bytes = bytes;
        let (used, parsed) = consumed?;
        self.start += used;
        if self.waiting() == 0 {
            self.bytes = Vec::new();
            self.start = 0;
        } else if self.start > self.bytes.len() / 2 {
            // Moving the rest only now and then keeps deep pipelines linear.
            self.bytes.drain(..std::mem::take(&mut self.start));
        }
        Ok(parsed)
    }

    fn consume(
        &mut self,
        config: &Config,
        peer: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(usize, Option<Parsed>), Violation> {
        if self.partial.is_some() {
            return self.consume_body(bytes);
        }
        let Some(skipped) = self.take_proxy(config, bytes)? else {
            return Ok((0, None));
        };
        let (used, parsed) = match self.head.take() {
            Some(mut head) => {
                let outcome = self.consume_head(config, peer, &bytes[skipped..], &mut head);
                self.head = Some(head);
                outcome?
            }
            None => HEAD.with_borrow_mut(|head| {
                // A panic may have left another connection's state.
                head.parser.reset();
                head.parser.charge(skipped);
                let outcome = self.consume_head(config, peer, &bytes[skipped..], head)?;
                if outcome.0 == 0 {
                    self.head = Some(Box::new(std::mem::take(head)));
                }
                Ok(outcome)
            })?,
        };
        if used > 0 {
            self.head = None;
        }
        Ok((skipped + used, parsed))
    }

    /// Reads the PROXY header with which `bytes` may begin, and returns its length; `None` if more must arrive.
    pub(super) fn take_proxy(
        &mut self,
        config: &Config,
        bytes: &[u8],
    ) -> Result<Option<usize>, Violation> {
        if let Proxy::Done(_) = self.proxy {
            return Ok(Some(0));
        }
        let header = match proxy::parse(bytes, config.proxy)? {
            ProxyOutcome::NeedMore => return Ok(None),
            ProxyOutcome::None => None,
            ProxyOutcome::Header(header) => Some(Box::new(header)),
        };
        let len = header.as_ref().map_or(0, |header| header.len);
        self.proxy = Proxy::Done(header);
        Ok(Some(len))
    }

    fn consume_head(
        &mut self,
        config: &Config,
        peer: Option<SocketAddr>,
        bytes: &[u8],
        Head { parser, head }: &mut Head,
    ) -> Result<(usize, Option<Parsed>), Violation> {
        match parser.parse(bytes, &config.limits, head) {
            Ok(true) => {}
            Ok(false) => return Ok((0, None)),
            Err(violation) => {
                self.refused_head = head.is_head();
                return Err(violation);
            }
        }
        let proxy = match &self.proxy {
            Proxy::Done(Some(header)) => Some(&**header),
            _ => None,
        };
        let rest = &bytes[head.len..];
        let expected = match head.framing {
            BodyFraming::Length(length) => rest.len().min(length as usize),
            _ => 0,
        };
        let mut draft = Draft::new(head, bytes, peer, proxy, expected);
        if self.secured {
            draft.secured();
        }
        let terms = Terms::of(head);
        let rest_of_body = match head.framing {
            BodyFraming::None => return Ok((head.len, Some((draft, terms, None)))),
            BodyFraming::Length(length) => Rest::Length(length),
            BodyFraming::Chunked => {
                let fields = head.headers.len();
                Rest::Chunked(ChunkedDecoder::new(&config.limits, head.len, fields))
            }
        };
        let continued = !head.expect_continue;
        self.partial = Some(Box::new(Partial {
            draft,
            terms,
            rest: rest_of_body,
            continued,
            recent: 0,
        }));
        let (body, parsed) = self.consume_body(rest)?;
        Ok((head.len + body, parsed))
    }

    fn consume_body(&mut self, bytes: &[u8]) -> Result<(usize, Option<Parsed>), Violation> {
        let Some(partial) = &mut self.partial else {
            return Ok((0, None));
        };
        let (used, done) = match &mut partial.rest {
            Rest::Length(left) => {
                let used = bytes
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                partial.draft.body().extend_from_slice(&bytes[..used]);
                *left -= used as u64;
                (used, *left == 0)
            }
            Rest::Chunked(decoder) => decoder.decode(bytes, partial.draft.body())?,
        };
        if !done {
            return Ok((used, None));
        }
        let parsed = self.partial.take().map(|partial| {
            let decoder = match partial.rest {
                Rest::Chunked(decoder) => Some(decoder),
                Rest::Length(_) => None,
            };
            (partial.draft, partial.terms, decoder)
        });
        Ok((used, parsed))
    }

    /// True once per request whose peer expects `100 Continue` before it sends the body.
    pub(super) fn wants_continue(&mut self) -> bool {
        self.partial
            .as_mut()
            .is_some_and(|partial| !std::mem::replace(&mut partial.continued, true))
    }

    /// Whether the request that broke a rule is a HEAD, as far as that is known.
    pub(super) fn is_head(&self) -> bool {
        let in_body = self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.terms.head);
        in_body || self.refused_head
    }
}
