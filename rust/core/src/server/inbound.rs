//! From received bytes to whole requests.

use std::cell::RefCell;
use std::sync::Arc;

use super::Config;
use super::connection::{Conn, Phase, State};
use super::exchange::Request;
use super::request::Draft;
use super::sink::Notice;
use crate::error::Violation;
use crate::h1::proxy::{self, ProxyHeader, ProxyMode, ProxyOutcome};
use crate::h1::{BodyFraming, ChunkedDecoder, HeadParser, RequestHead, Version};

thread_local! {
    /// Most heads arrive whole: then no connection needs room of its own for one.
    static HEAD: RefCell<RequestHead> = RefCell::new(RequestHead::default());
}

/// What a request asks of its answer.
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

/// Bytes and parser state between reads. Holds no buffer between requests.
#[derive(Debug)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    start: usize,
    parser: HeadParser,
    /// A head that has arrived in part.
    head: Option<Box<RequestHead>>,
    partial: Option<Box<Partial>>,
    proxy: Proxy,
    /// The peer broke a rule: whatever else it sends is dropped.
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
}

#[derive(Debug)]
enum Rest {
    Length(u64),
    Chunked(ChunkedDecoder),
}

/// A request and how it wants to be answered.
type Parsed = (Draft, Terms, Option<ChunkedDecoder>);

impl Inbound {
    pub(super) fn new(config: &Config) -> Self {
        let proxy = match config.proxy {
            ProxyMode::Disable => Proxy::Done(None),
            _ => Proxy::Expected,
        };
        Self {
            bytes: Vec::new(),
            start: 0,
            parser: HeadParser::new(),
            head: None,
            partial: None,
            proxy,
            refused: false,
            refused_head: false,
        }
    }

    /// Received and not yet looked at.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.partial.is_none()
    }

    /// Whether the peer may still be sending something that we shall not use.
    pub(super) fn is_unfinished(&self) -> bool {
        self.refused || !self.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.head = None;
        self.partial = None;
    }

    /// Drops what waits, and all that will come.
    pub(super) fn refuse(&mut self) {
        self.clear();
        self.refused = true;
    }

    pub(super) fn keep(&mut self, fresh: &[u8]) {
        self.bytes.extend_from_slice(fresh);
    }

    /// Takes all bytes that wait.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..std::mem::take(&mut self.start));
        bytes
    }

    fn parse(&mut self, conn: &Conn, fresh: &[u8]) -> Result<Option<Parsed>, Violation> {
        if self.waiting() == 0 {
            self.bytes.clear();
            self.start = 0;
            let (used, parsed) = self.consume(conn, fresh)?;
            self.bytes.extend_from_slice(&fresh[used..]);
            if self.bytes.is_empty() {
                self.bytes = Vec::new();
            }
            return Ok(parsed);
        }
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(fresh);
        let consumed = self.consume(conn, &bytes[self.start..]);
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

    fn consume(&mut self, conn: &Conn, bytes: &[u8]) -> Result<(usize, Option<Parsed>), Violation> {
        if self.partial.is_some() {
            return self.consume_body(bytes);
        }
        let mut skipped = 0;
        if let Proxy::Expected = self.proxy {
            match proxy::parse(bytes, conn.shared.config.proxy)? {
                ProxyOutcome::NeedMore => return Ok((0, None)),
                ProxyOutcome::None => self.proxy = Proxy::Done(None),
                ProxyOutcome::Header(header) => {
                    skipped = header.len;
                    self.parser.charge(skipped);
                    self.proxy = Proxy::Done(Some(Box::new(header)));
                }
            }
        }
        let (used, parsed) = match self.head.take() {
            Some(mut head) => {
                let outcome = self.consume_head(conn, &bytes[skipped..], &mut head);
                self.head = Some(head);
                outcome?
            }
            None => HEAD.with_borrow_mut(|head| {
                let outcome = self.consume_head(conn, &bytes[skipped..], head)?;
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

    fn consume_head(
        &mut self,
        conn: &Conn,
        bytes: &[u8],
        head: &mut RequestHead,
    ) -> Result<(usize, Option<Parsed>), Violation> {
        let config = &conn.shared.config;
        match self.parser.parse(bytes, &config.limits, head) {
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
        let draft = Draft::new(head, bytes, conn.ends().peer, proxy, expected);
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

    /// True once per request that waits for its body behind `Expect: 100-continue`.
    fn wants_continue(&mut self) -> bool {
        self.partial
            .as_mut()
            .is_some_and(|partial| !std::mem::replace(&mut partial.continued, true))
    }
}

impl State {
    /// Parses the next request out of what waits and `fresh`. A request that breaks the rules is
    /// answered here.
    pub(super) fn next_request(&mut self, conn: &Arc<Conn>, fresh: &[u8]) -> Option<Request> {
        match self.inbound.parse(conn, fresh) {
            Ok(Some((draft, terms, chunked))) => {
                self.seq = self.seq.wrapping_add(1);
                self.name = 0;
                self.channel = None;
                self.phase = Phase::Waiting(terms);
                if self.eof {
                    self.tell_half_close(conn);
                }
                let exchange = self.exchange(conn);
                let (text, trailers) = match &chunked {
                    Some(decoder) => decoder.trailers(),
                    None => (&[][..], &[][..]),
                };
                let (block, arrived) = draft.finish(trailers, text);
                Some(Request {
                    exchange,
                    block,
                    arrived,
                })
            }
            Ok(None) => {
                if self.inbound.wants_continue() {
                    let mut interim = Vec::with_capacity(128);
                    conn.shared.interim(&mut interim);
                    self.transport.write(&interim, &[]);
                }
                None
            }
            Err(violation) => {
                self.violated(conn, violation);
                None
            }
        }
    }

    /// Answers a broken rule; the connection ends after that.
    fn violated(&mut self, conn: &Arc<Conn>, violation: Violation) {
        let in_body = self
            .inbound
            .partial
            .as_ref()
            .is_some_and(|partial| partial.terms.head);
        let head = in_body || self.inbound.refused_head;
        let mut answer = Vec::with_capacity(256);
        conn.shared.error(&mut answer, violation, head);
        // The rest of what the peer sends is not looked at, but must not be met with a reset.
        self.inbound.refuse();
        self.transport.write(&answer, &[]);
        self.finish_connection();
        conn.shared.notice(Notice::Violation(violation));
    }
}
