//! From received bytes to requests, which are drafts until they have an exchange. They are complete, unless the rest of
//! a long body is to be read as it arrives.
//!
//! Not here: how a connection handles them (`receiving.rs`), and that rest (`body.rs`).

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Instant;

use super::body::{BodyFault, Rest, Stream};
use super::config::Config;
use super::partial::{LEAST_RECEIVED, Partial, Terms};
use super::proxied::Proxied;
use super::request::Draft;
use crate::error::Violation;
use crate::h1::{BodyFraming, ChunkedDecoder, HeadParser, Limits, RequestHead};

thread_local! {
    /// Most heads arrive whole, and then a connection needs no parser and no buffer of its own.
    static HEAD: RefCell<Head> = RefCell::new(Head::default());
}

/// A head, and how far it has been parsed.
#[derive(Debug, Default)]
pub(super) struct Head {
    parser: HeadParser,
    pub(super) head: RequestHead,
}

impl Head {
    /// See [`HeadParser::parse`].
    pub(super) fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<bool, Violation> {
        self.parser.parse(bytes, limits, &mut self.head)
    }
}

/// The part of a request that has to arrive next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The first byte of a request.
    Request,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
}

/// Bytes and parser state between reads. Holds no buffer between requests.
#[derive(Debug)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    start: usize,
    /// A head that has arrived in part.
    head: Option<Box<Head>>,
    body: Option<Box<Body>>,
    /// What a balancer says about the client.
    pub(super) proxy: Proxied,
    /// Its first request is redirected, and none is served.
    pub(super) redirected: bool,
    /// Received bytes came through TLS.
    secured: bool,
    /// A part of the next record has arrived.
    record_begun: bool,
    /// Further input is dropped.
    dropping: bool,
    /// The peer broke a rule in a HEAD request.
    refused_head: bool,
}

/// The body of the current request.
#[derive(Debug)]
enum Body {
    Partial(Partial),
    Stream(Stream),
}

/// A request, the terms of its response, and the decoder that has its trailers.
pub(super) type Parsed = (Draft, Terms, Option<Box<ChunkedDecoder>>);

impl Inbound {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            bytes: Vec::new(),
            start: 0,
            head: None,
            body: None,
            proxy: Proxied::new(config.proxy),
            redirected: false,
            secured: false,
            record_begun: false,
            dropping: false,
            refused_head: false,
        }
    }

    /// From now on, received bytes came through TLS.
    pub(super) fn secured(&mut self) {
        self.secured = true;
    }

    /// Whether a part of the next record has arrived.
    pub(super) fn set_record_begun(&mut self, begun: bool) {
        self.record_begun = begun;
    }

    /// Bytes received and not yet parsed.
    pub(super) fn waiting(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Bytes of a request that is still arriving, and those behind it.
    pub(super) fn held(&self) -> usize {
        let body = match self.body.as_deref() {
            Some(Body::Partial(partial)) => partial.draft.body_len(),
            Some(Body::Stream(stream)) => stream.len(),
            None => 0,
        };
        self.waiting() + body
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting() == 0
            && !self.record_begun
            && !self.is_body_partial()
            && !self.is_body_arriving()
    }

    /// Whether a request has arrived up to a part of its body, and was not handed over.
    pub(super) fn is_body_partial(&self) -> bool {
        matches!(self.body.as_deref(), Some(Body::Partial(_)))
    }

    pub(super) fn awaited(&self) -> Awaited {
        match self.body.as_deref() {
            Some(Body::Partial(_)) => Awaited::Body,
            Some(Body::Stream(stream)) if stream.is_arriving() => Awaited::Body,
            // One empty line may precede a request; old clients send it after a body.
            _ if !self.record_begun && matches!(&self.bytes[self.start..], [] | b"\r\n") => {
                Awaited::Request
            }
            _ => Awaited::Head,
        }
    }

    /// Counts received bytes of a body. Whether it has grown by enough for the time limit to start anew.
    pub(super) fn note_received(&mut self, received: usize) -> bool {
        let recent = match self.body.as_deref_mut() {
            None => return false,
            Some(Body::Partial(partial)) => &mut partial.recent,
            Some(Body::Stream(stream)) => &mut stream.recent,
        };
        *recent += received;
        let enough = *recent >= LEAST_RECEIVED;
        if enough {
            *recent = 0;
        }
        enough
    }

    /// Whether the peer may still be sending something that we will not use.
    pub(super) fn may_send_more(&self) -> bool {
        self.dropping || !self.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.bytes = Vec::new();
        self.start = 0;
        self.record_begun = false;
        self.head = None;
        match self.body.as_deref_mut() {
            // Its reader is told.
            Some(Body::Stream(stream)) => stream.fail(BodyFault::Early),
            _ => self.body = None,
        }
    }

    /// Drops kept bytes and all further input.
    pub(super) fn drop_input(&mut self) {
        self.clear();
        self.dropping = true;
    }

    /// Drops what the peer may still send, but no kept bytes.
    pub(super) fn drop_further_input(&mut self) {
        self.dropping = true;
    }

    /// The body that user code reads as it arrives.
    pub(super) fn stream(&mut self) -> Option<&mut Stream> {
        match self.body.as_deref_mut() {
            Some(Body::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// A request whose body is still arriving, as a block, and when its head had arrived.
    pub(super) fn take_partial(&mut self) -> Option<(Vec<u8>, Instant)> {
        match self.body.take().map(|body| *body) {
            Some(Body::Partial(partial)) => Some(partial.draft.finish(&[], &[])),
            other => {
                self.body = other.map(Box::new);
                None
            }
        }
    }

    /// What has not become a request, without a PROXY header before it: the kept bytes, or `fresh` if there are none.
    pub(super) fn unparsed<'a>(&'a self, fresh: &'a [u8]) -> &'a [u8] {
        let bytes = match &self.bytes[self.start..] {
            [] => fresh,
            kept => kept,
        };
        self.proxy.skip(bytes)
    }

    pub(super) fn peek_stream(&self) -> Option<&Stream> {
        match self.body.as_deref() {
            Some(Body::Stream(stream)) => Some(stream),
            _ => None,
        }
    }

    /// Whether enough of a body is queued for its reader that the socket should not be read.
    pub(super) fn is_ahead(&self, window: usize) -> bool {
        self.peek_stream()
            .is_some_and(|stream| stream.is_full(window))
    }

    /// Whether the connection must end with the response, see [`Stream::ends_connection`].
    pub(super) fn ends_connection(&self) -> bool {
        self.peek_stream().is_some_and(Stream::ends_connection)
    }

    /// Whether a reader waits for more of a body.
    pub(super) fn is_body_awaited(&self) -> bool {
        self.peek_stream().is_some_and(|stream| stream.awaited)
    }

    pub(super) fn forget_body(&mut self) {
        self.body = None;
    }

    /// Whether more of a body may be on its way, for user code that reads it or to be dropped.
    pub(super) fn is_body_arriving(&self) -> bool {
        self.peek_stream().is_some_and(Stream::is_arriving)
    }

    /// Keeps bytes for later, unless input is dropped.
    pub(super) fn keep(&mut self, fresh: &[u8]) {
        if !self.dropping {
            self.bytes.extend_from_slice(fresh);
        }
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
        match self.body.as_deref_mut() {
            None => self.consume_request(config, peer, bytes),
            Some(Body::Partial(_)) => self.consume_body(config, bytes),
            // Its response is complete: what is left of it is dropped.
            Some(Body::Stream(stream)) => {
                let dropped = stream.receive(bytes, config.body_window)?;
                if !stream.is_complete() {
                    return Ok((dropped, None));
                }
                self.body = None;
                let (used, parsed) = self.consume_request(config, peer, &bytes[dropped..])?;
                Ok((dropped + used, parsed))
            }
        }
    }

    fn consume_request(
        &mut self,
        config: &Config,
        peer: Option<SocketAddr>,
        bytes: &[u8],
    ) -> Result<(usize, Option<Parsed>), Violation> {
        let Some(skipped) = self.proxy.take(config.proxy, bytes)? else {
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

    /// Reads the PROXY header with which the kept bytes, the connection's first, may begin. False if more must arrive.
    pub(super) fn take_proxy_header(&mut self, config: &Config) -> Result<bool, Violation> {
        let len = self.proxy.take(config.proxy, &self.bytes)?;
        self.bytes.drain(..len.unwrap_or(0));
        Ok(len.is_some())
    }

    /// The kept bytes' first head, which is not taken from them.
    pub(super) fn peek_head(&mut self, limits: &Limits) -> Result<Option<Box<Head>>, Violation> {
        let mut head = self.take_head();
        if head.parse(&self.bytes, limits)? {
            return Ok(Some(head));
        }
        self.keep_head(head);
        Ok(None)
    }

    /// A head of which parts have arrived, or a new one.
    pub(super) fn take_head(&mut self) -> Box<Head> {
        self.head.take().unwrap_or_default()
    }

    /// Keeps a head of which more must arrive.
    pub(super) fn keep_head(&mut self, head: Box<Head>) {
        self.head = Some(head);
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
                if violation == Violation::BodyTooLarge {
                    // The head itself is valid: the access log has all of it.
                    let draft = self.draft(head, bytes, peer, 0);
                    let none = Rest::Length(0);
                    self.body = Some(Box::new(Body::Partial(Partial::new(draft, head, none))));
                }
                return Err(violation);
            }
        }
        let rest = &bytes[head.len..];
        let expected = match head.framing {
            BodyFraming::Length(length) => rest.len().min(length as usize),
            _ => 0,
        };
        let draft = self.draft(head, bytes, peer, expected);
        let rest_of_body = match head.framing {
            BodyFraming::None => return Ok((head.len, Some((draft, Terms::of(head), None)))),
            BodyFraming::Length(length) => Rest::Length(length),
            BodyFraming::Chunked => {
                let fields = head.headers.len();
                Rest::Chunked(ChunkedDecoder::new(
                    &config.limits,
                    head.charged + head.len,
                    fields,
                ))
            }
        };
        self.body = Some(Box::new(Body::Partial(Partial::new(
            draft,
            head,
            rest_of_body,
        ))));
        let (body, parsed) = self.consume_body(config, rest)?;
        Ok((head.len + body, parsed))
    }

    fn draft(
        &self,
        head: &RequestHead,
        bytes: &[u8],
        peer: Option<SocketAddr>,
        expected: usize,
    ) -> Draft {
        let mut draft = Draft::new(head, bytes, peer, self.proxy.header(), expected);
        if self.secured {
            draft.secured();
        }
        draft
    }

    fn consume_body(
        &mut self,
        config: &Config,
        bytes: &[u8],
    ) -> Result<(usize, Option<Parsed>), Violation> {
        let Some(Body::Partial(partial)) = self.body.as_deref_mut() else {
            return Ok((0, None));
        };
        let (used, done) = partial.rest.decode(bytes, partial.draft.body())?;
        let streamed = partial.is_streamed(config, done);
        if !done && !streamed {
            return Ok((used, None));
        }
        let Some(Body::Partial(partial)) = self.body.take().map(|body| *body) else {
            return Ok((used, None));
        };
        if streamed {
            let (draft, terms, stream) = partial.into_stream(done);
            self.body = Some(Box::new(Body::Stream(stream)));
            return Ok((used, Some((draft, terms, None))));
        }
        let decoder = match partial.rest {
            Rest::Chunked(decoder) => Some(Box::new(decoder)),
            Rest::Length(_) => None,
        };
        Ok((used, Some((partial.draft, partial.terms, decoder))))
    }

    fn partial(&mut self) -> Option<&mut Partial> {
        match self.body.as_deref_mut() {
            Some(Body::Partial(partial)) => Some(partial),
            _ => None,
        }
    }

    /// True once per request whose peer expects `100 Continue` before it sends the body.
    pub(super) fn take_continue(&mut self) -> bool {
        self.partial()
            .is_some_and(|partial| !std::mem::replace(&mut partial.continued, true))
    }

    /// Whether the request that broke a rule is a HEAD, as far as that is known.
    pub(super) fn is_head(&mut self) -> bool {
        let in_body = self.partial().is_some_and(|partial| partial.terms.head);
        in_body || self.refused_head
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_comes_byte_by_byte_is_parsed_on_from_where_it_stopped() {
        let whole = b"GET /a HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n";
        let limits = Limits::default();
        let mut inbound = Inbound::new(&Config::default());
        let mut bytes = Vec::new();
        for (i, byte) in whole.iter().enumerate() {
            bytes.push(*byte);
            let mut head = inbound.take_head();
            let complete = head.parse(&bytes, &limits).unwrap();
            assert_eq!(complete, i == whole.len() - 1, "{i} bytes before it");
            match complete {
                true => assert_eq!(head.head.headers.len(), 2),
                false => inbound.keep_head(head),
            }
            if bytes.ends_with(b"\r\n") {
                // A parser that began again would reject the line.
                bytes.fill(0);
            }
        }
    }
}
