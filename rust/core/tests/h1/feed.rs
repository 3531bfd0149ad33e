//! A connection without a socket: bytes in, requests out.

use httpkit_core::h1::head::Authority;
use httpkit_core::h1::proxy::{self, ProxyHeader, ProxyMode, ProxyOutcome};
use httpkit_core::h1::response::Persistence;
use httpkit_core::h1::{
    BodyFraming, ChunkedDecoder, HeadParser, Header, Limits, RequestHead, Version, Violation,
};

pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub method: Vec<u8>,
    pub target: Vec<u8>,
    pub version: Version,
    /// Trailers at the end.
    pub headers: Fields,
    pub host: Option<(Vec<u8>, Option<u16>)>,
    pub websocket: bool,
    pub expect_continue: bool,
    pub body: Vec<u8>,
}

/// What a connection made of its bytes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    pub proxy: Option<ProxyHeader>,
    pub requests: Vec<Request>,
    pub violation: Option<Violation>,
    /// A request asked for the end, later bytes were not read.
    pub closed: bool,
}

#[derive(Default)]
enum Step {
    #[default]
    Proxy,
    Head,
    Length(u64),
    Chunked(Box<ChunkedDecoder>),
    Over,
}

/// Feeds pieces as they arrive and keeps no more than the parsers may expect.
pub struct Feed {
    limits: Limits,
    mode: ProxyMode,
    step: Step,
    parser: HeadParser,
    head: RequestHead,
    /// The current head with its bytes, while a body is read.
    current: Option<Request>,
    buf: Vec<u8>,
    outcome: Outcome,
}

impl Feed {
    pub fn new(limits: Limits, mode: ProxyMode) -> Feed {
        Feed {
            limits,
            mode,
            step: Step::Proxy,
            parser: HeadParser::new(),
            head: RequestHead::default(),
            current: None,
            buf: Vec::new(),
            outcome: Outcome::default(),
        }
    }

    pub fn push(&mut self, piece: &[u8]) {
        self.buf.extend_from_slice(piece);
        loop {
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return,
                Err(violation) => {
                    self.outcome.violation = Some(violation);
                    self.step = Step::Over;
                    return;
                }
            }
        }
    }

    pub fn finish(self) -> Outcome {
        self.outcome
    }

    /// Whether to call again: something was completed and there may be more.
    fn advance(&mut self) -> Result<bool, Violation> {
        match std::mem::take(&mut self.step) {
            Step::Proxy => self.proxy(),
            Step::Head => self.head(),
            Step::Length(left) => Ok(self.length(left)),
            Step::Chunked(decoder) => self.chunked(decoder),
            Step::Over => {
                self.step = Step::Over;
                Ok(false)
            }
        }
    }

    fn proxy(&mut self) -> Result<bool, Violation> {
        match proxy::parse(&self.buf, self.mode)? {
            ProxyOutcome::NeedMore => return Ok(false),
            ProxyOutcome::None => {}
            ProxyOutcome::Header(header) => {
                self.parser.charge(header.len);
                self.buf.drain(..header.len);
                self.outcome.proxy = Some(header);
            }
        }
        self.step = Step::Head;
        Ok(true)
    }

    fn head(&mut self) -> Result<bool, Violation> {
        self.step = Step::Head;
        if !self.parser.parse(&self.buf, &self.limits, &mut self.head)? {
            return Ok(false);
        }
        self.current = Some(request(&self.head, &self.buf));
        self.buf.drain(..self.head.len);
        match self.head.framing {
            BodyFraming::None => self.complete(),
            BodyFraming::Length(n) => self.step = Step::Length(n),
            BodyFraming::Chunked => {
                let before = self.head.charged + self.head.len;
                let fields = self.head.headers.len();
                let decoder = ChunkedDecoder::new(&self.limits, before, fields);
                self.step = Step::Chunked(Box::new(decoder));
            }
        }
        Ok(true)
    }

    fn length(&mut self, left: u64) -> bool {
        let n = self.buf.len().min(left as usize);
        let body = &mut self.current.as_mut().expect("a head").body;
        body.extend(self.buf.drain(..n));
        let left = left - n as u64;
        if left > 0 {
            self.step = Step::Length(left);
            return false;
        }
        self.complete();
        true
    }

    fn chunked(&mut self, mut decoder: Box<ChunkedDecoder>) -> Result<bool, Violation> {
        let current = self.current.as_mut().expect("a head");
        let (used, done) = decoder.decode(&self.buf, &mut current.body)?;
        self.buf.drain(..used);
        if !done {
            assert!(
                self.buf.is_empty(),
                "an unfinished body uses all of its input"
            );
            self.step = Step::Chunked(decoder);
            return Ok(false);
        }
        let (bytes, trailers) = decoder.trailers();
        current.headers.extend(fields(trailers, bytes));
        self.complete();
        Ok(true)
    }

    fn complete(&mut self) {
        self.outcome.requests.extend(self.current.take());
        let persistence = Persistence {
            version: self.head.version,
            close: self.head.close,
            keep_alive: self.head.keep_alive,
            websocket: self.head.upgrade_websocket,
            ..Persistence::default()
        };
        self.outcome.closed = persistence.rule().close;
        self.step = if self.outcome.closed {
            Step::Over
        } else {
            Step::Head
        };
    }
}

fn request(head: &RequestHead, buf: &[u8]) -> Request {
    let host = |a: Authority| (a.name.of(buf).to_vec(), a.port);
    Request {
        method: head.method.of(buf).to_vec(),
        target: head.target.of(buf).to_vec(),
        version: head.version,
        headers: fields(&head.headers, buf),
        host: head.authority.map(host),
        websocket: head.upgrade_websocket,
        expect_continue: head.expect_continue,
        body: Vec::new(),
    }
}

fn fields(headers: &[Header], buf: &[u8]) -> Fields {
    headers
        .iter()
        .map(|h| (h.name.of(buf).to_vec(), h.value.of(buf).to_vec()))
        .collect()
}

/// The outcome of bytes that arrive in these pieces.
pub fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> Outcome {
    feed_with(pieces, limits, ProxyMode::Disable)
}

pub fn feed_with<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
    mode: ProxyMode,
) -> Outcome {
    let mut feed = Feed::new(limits.clone(), mode);
    pieces.into_iter().for_each(|piece| feed.push(piece));
    feed.finish()
}

/// The outcome of `bytes` in one piece, after seeing that every other way to cut them agrees.
pub fn feed_every_way(bytes: &[u8], limits: &Limits, mode: ProxyMode) -> Outcome {
    let whole = feed_with([bytes], limits, mode);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    assert_eq!(
        feed_with(bytes.chunks(1), limits, mode),
        whole,
        "byte by byte: {text:?}"
    );
    for cut in 0..bytes.len().min(2000) {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(
            feed_with([a, b], limits, mode),
            whole,
            "cut at {cut}: {text:?}"
        );
    }
    whole
}

/// What one request became: itself, a violation, or neither for want of bytes.
pub fn one(bytes: &[u8]) -> Result<Option<Request>, Violation> {
    one_within(bytes, &Limits::default())
}

pub fn one_within(bytes: &[u8], limits: &Limits) -> Result<Option<Request>, Violation> {
    let mut outcome = feed_every_way(bytes, limits, ProxyMode::Disable);
    match outcome.violation {
        Some(violation) => Err(violation),
        None => Ok(outcome.requests.pop()),
    }
}
