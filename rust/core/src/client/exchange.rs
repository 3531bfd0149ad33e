//! One request and its response on one connection.
//!
//! Reading and writing run concurrently, so that an early response reaches the caller while the request is still being
//! written. Beyond the caller's window, no more than one read is kept.

use super::call::{Call, Limit};
use super::ceiling::{Collected, over_limit};
use super::connect::Conn;
use super::decode::{Decoder, Event};
use super::decompress::{Coding, Inflater};
use super::error::{CallError, ErrorKind};
use super::outgoing::Outgoing;
use super::seat::Sent;
use super::sink::Head;
use super::spec::{Method, Upload};
use super::stats::Stats;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

/// Granularity of the limit on decoded bytes.
const DECODED_STEP: u64 = 4096;
/// Output buffer of a decoder.
const INFLATE_BUFFER: usize = 16 * 1024;
/// Most bytes decoded before yielding: a small piece can expand a thousandfold, and other calls share the loop.
const DECODED_TURN: usize = 256 * 1024;

/// How an exchange ended.
pub(super) enum Ended {
    Complete(Box<Complete>),
    /// The pooled connection was dead and the request may be repeated.
    Stale,
    Failed(CallError),
}

/// A complete response.
pub(super) struct Complete {
    pub reusable: bool,
    response: Response,
    body: Vec<u8>,
}

/// The response, apart from its body.
struct Response {
    decoder: Decoder,
    trailers: bool,
    decoded: bool,
    reused: bool,
    tls: bool,
    hosted: bool,
}

impl Response {
    fn head(&self) -> Head<'_> {
        Head {
            status: self.decoder.status(),
            version: self.decoder.version(),
            headers: self.decoder.headers(),
            trailers: self.trailers,
            decoded: self.decoded,
            reused: self.reused,
            tls: self.tls,
            hosted: self.hosted,
        }
    }
}

impl Complete {
    /// Delivers the response to the sink.
    pub(super) fn deliver(self, mut call: Call) {
        call.settle();
        let sink = &call.shared().sink;
        let head = self.response.head();
        let taken = if call.spec.streamed {
            (!self.response.trailers || sink.on_head(call.id, &head)) && sink.on_end(call.id)
        } else {
            Stats::sub(&call.shared().stats.buffered, self.body.len() as u64);
            sink.on_response(call.id, &head, &self.body)
        };
        if !taken {
            call.shared().report(call.id, &CallError::refused(), None);
        }
    }
}

/// Sends the request of `call`, of which `sent` has been written, and reads its response.
pub(super) async fn run(conn: &mut Conn, call: &Call, sent: Option<Sent>) -> Ended {
    let mut exchange = Exchange::new(conn, call, sent);
    let result = poll_fn(|cx| exchange.poll(cx)).await;
    match result {
        Ok(surplus) => exchange.complete(surplus),
        Err(Stop::Stale) => Ended::Stale,
        Err(Stop::Failed(error)) => Ended::Failed(error),
    }
}

enum Stop {
    Stale,
    Failed(CallError),
}

impl From<CallError> for Stop {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of one read.
#[derive(PartialEq, Eq)]
enum Progress {
    Nothing,
    Some,
    /// Complete; `surplus` says whether bytes followed the response.
    Complete {
        surplus: bool,
    },
}

struct Exchange<'a> {
    conn: &'a mut Conn,
    call: &'a Call,
    response: Response,
    outgoing: Outgoing,
    inflater: Option<Inflater>,
    body: Collected<'a>,
    wire: u64,
    /// Bytes collected or handed out.
    emitted: u64,
    decoded: u64,
    /// Input kept for lack of window or until the next turn: wire bytes behind a piece, and of that piece, if it is
    /// coded, what is decoded and what is not.
    backlog: Vec<u8>,
    kept: Option<(Vec<u8>, Vec<u8>)>,
    /// It ran out of window or turn: continue with what is kept before reading.
    stalled: bool,
    /// Bytes decoded since the task last yielded.
    turn: usize,
    announced: bool,
    /// When bytes last moved, and how many had moved by then.
    last: Instant,
    moved: u64,
}

impl<'a> Exchange<'a> {
    fn new(conn: &'a mut Conn, call: &'a Call, sent: Option<Sent>) -> Self {
        Self {
            response: Response {
                decoder: Decoder::new(call.spec.method == Method::Head),
                trailers: false,
                decoded: false,
                reused: conn.served > 0,
                tls: conn.tls,
                hosted: conn.transport.is_some(),
            },
            outgoing: Outgoing::new(call, sent.map_or(0, |sent| sent.bytes)),
            moved: conn.meter.bytes(),
            conn,
            call,
            inflater: None,
            body: Collected::new(call),
            wire: 0,
            emitted: 0,
            decoded: 0,
            backlog: Vec::new(),
            kept: None,
            stalled: false,
            turn: 0,
            announced: false,
            last: sent.map_or_else(Instant::now, |sent| sent.at),
        }
    }

    fn complete(&mut self, surplus: bool) -> Ended {
        let decoder = std::mem::replace(&mut self.response.decoder, Decoder::new(false));
        let response = Response {
            decoder,
            ..self.response
        };
        Ended::Complete(Box::new(Complete {
            reusable: !surplus && self.outgoing.done() && response.decoder.reusable(),
            response,
            body: self.body.take(),
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Stop>> {
        self.call.control.wait(cx);
        self.turn = 0;
        let mut progress = false;
        loop {
            if self.turn >= DECODED_TURN {
                // This wakes the task again after the loop has next polled its sockets.
                let _ = pin!(yield_now()).poll(cx);
                break;
            }
            self.call.control.broken()?;
            let wrote = self.outgoing.poll(cx, self.conn, self.call)?;
            let read = self.read(cx)?;
            if let Progress::Complete { surplus } = read {
                return Poll::Ready(Ok(surplus));
            }
            if !wrote && read == Progress::Nothing {
                break;
            }
            progress = true;
        }
        // Part of a TLS record is not progress yet, but the peer is not silent either.
        let moved = self.conn.meter.bytes();
        if progress || moved != self.moved {
            (self.last, self.moved) = (Instant::now(), moved);
        }
        let Some(limit) = self.limit() else {
            return Poll::Pending;
        };
        ready!(self.conn.timer.poll_until(cx, limit.at));
        Poll::Ready(Err(Stop::Failed(limit.error())))
    }

    /// Silence counts only while we wait for the peer.
    fn limit(&self) -> Option<Limit> {
        let ours = self.blocked() || self.outgoing.waits_for_source();
        self.call.idle_limit((!ours).then_some(self.last))
    }

    fn blocked(&self) -> bool {
        self.call.spec.streamed && self.call.control.credit.load(Relaxed) <= 0
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Progress, Stop> {
        if self.blocked() {
            // The body may end without another byte; if one comes, it is kept.
            let kept = self.kept.is_some() || !self.backlog.is_empty();
            if kept || (self.inflater.is_none() && self.response.decoder.in_body()) {
                return Ok(Progress::Nothing);
            }
        } else if self.stalled {
            return self.resume();
        }
        let call = self.call;
        let mut scratch = call.shared().scratch.lock();
        let mut buf = ReadBuf::new(&mut scratch);
        match Pin::new(&mut self.conn.stream).poll_read(cx, &mut buf) {
            Poll::Pending => Ok(Progress::Nothing),
            Poll::Ready(Err(error)) => self.broken_off(Some(error)),
            Poll::Ready(Ok(())) if buf.filled().is_empty() => self.broken_off(None),
            Poll::Ready(Ok(())) => Ok(self.decode(buf.filled())?),
        }
    }

    /// The peer ended its side, or the connection broke.
    fn broken_off(&mut self, error: Option<io::Error>) -> Result<Progress, Stop> {
        // Many servers close TLS connections without close_notify; that is treated as an ordinary end.
        let error = error.filter(|error| error.kind() != io::ErrorKind::UnexpectedEof);
        if self.repeatable() {
            return Err(Stop::Stale);
        }
        if let Some(error) = error {
            return Err(Stop::Failed(CallError::from_io(&error)));
        }
        self.response.decoder.finish()?;
        self.end_body()?;
        // Not reusable in any case: the decoder knows that the body ended with the connection.
        Ok(Progress::Complete { surplus: true })
    }

    /// Whether the request may be repeated: a pooled connection died before the status line. Only GET and HEAD use
    /// another connection; other methods may already have had their effect.
    fn repeatable(&self) -> bool {
        self.response.reused
            && self.call.spec.method != Method::Other
            && self.call.spec.upload == Upload::Whole
            && self.response.decoder.untouched()
    }

    /// Continues with input that was kept.
    fn resume(&mut self) -> Result<Progress, Stop> {
        self.stalled = false;
        if let Some((decoded, coded)) = self.kept.take() {
            self.inflate(&decoded, &coded)?;
        }
        let backlog = std::mem::take(&mut self.backlog);
        Ok(self.decode(&backlog)?)
    }

    fn decode(&mut self, mut input: &[u8]) -> Result<Progress, CallError> {
        loop {
            let full = self.inflater.is_none() && self.blocked();
            let decoder = &mut self.response.decoder;
            let event = match (&self.kept, full) {
                (Some(_), _) => None,
                (None, true) => decoder.next_but_body(&mut input)?,
                (None, false) => Some(decoder.next(&mut input)?),
            };
            match event {
                None => {
                    self.stalled = true;
                    self.backlog = input.to_vec();
                    return Ok(Progress::Some);
                }
                Some(Event::More) => {
                    self.stalled = self.blocked();
                    return Ok(Progress::Some);
                }
                Some(Event::Status) => {}
                Some(Event::Headers) => self.on_headers()?,
                Some(Event::Body(piece)) => self.on_piece(piece)?,
                Some(Event::Trailers) => self.response.trailers = true,
                Some(Event::End) => {
                    self.end_body()?;
                    let surplus = !input.is_empty();
                    return Ok(Progress::Complete { surplus });
                }
            }
        }
    }

    fn on_headers(&mut self) -> Result<(), CallError> {
        let spec = &self.call.spec;
        if !spec.raw {
            let coding = self.response.decoder.headers().get("content-encoding");
            self.inflater = coding.and_then(|name| Coding::of(&name)).map(Inflater::new);
            self.response.decoded = self.inflater.is_some();
        }
        self.check_announced()?;
        let sink = &self.call.shared().sink;
        if spec.streamed && !sink.on_head(self.call.id, &self.response.head()) {
            return Err(CallError::refused());
        }
        Ok(())
    }

    /// Fails early if the announced body exceeds its limit. The decoded length of a coded one is not known yet.
    fn check_announced(&self) -> Result<(), CallError> {
        match self.response.decoder.announced() {
            Some(length) if self.inflater.is_none() => {
                self.within_limit(length)?;
                let spec = &self.call.spec;
                // A filter that aborts it before decides how it fails.
                let aborted = spec.max_wire.is_some_and(|most| length > most);
                if spec.streamed || aborted {
                    return Ok(());
                }
                self.body.announced(length)
            }
            _ => Ok(()),
        }
    }

    fn within_limit(&self, length: u64) -> Result<(), CallError> {
        match self.call.spec.max_body {
            Some(most) if length > most => Err(over_limit(most)),
            _ => Ok(()),
        }
    }

    fn on_piece(&mut self, piece: &[u8]) -> Result<(), CallError> {
        self.wire += piece.len() as u64;
        if self.call.spec.max_wire.is_some_and(|most| self.wire > most) {
            let wire = self.wire;
            return Err(CallError::new(
                ErrorKind::Abort,
                format!("Rejected when reading body, length: {wire}"),
            ));
        }
        match self.inflater {
            Some(_) => self.inflate(&[], piece),
            None => self.emit(piece),
        }
    }

    /// Decodes until the window or this turn's share is used up; the rest is kept. `decoded` was kept before.
    fn inflate(&mut self, decoded: &[u8], mut coded: &[u8]) -> Result<(), CallError> {
        let Some(mut inflater) = self.inflater.take() else {
            return Ok(());
        };
        let mut output = [0; INFLATE_BUFFER];
        let mut result = match decoded {
            [] => Ok(()),
            _ => self.emit_decoded(decoded, &inflater),
        };
        while result.is_ok() {
            if self.turn >= DECODED_TURN {
                self.kept = Some((Vec::new(), coded.to_vec()));
                break;
            }
            let step = match inflater.inflate(coded, &mut output) {
                Ok(step) => step,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            coded = &coded[step.consumed..];
            self.turn += step.produced;
            if step.produced > 0 && self.blocked() {
                self.kept = Some((output[..step.produced].to_vec(), coded.to_vec()));
                break;
            }
            result = self.emit_decoded(&output[..step.produced], &inflater);
            if step.produced < output.len() {
                break;
            }
        }
        self.inflater = Some(inflater);
        result
    }

    fn emit_decoded(&mut self, data: &[u8], inflater: &Inflater) -> Result<(), CallError> {
        self.decoded += data.len() as u64;
        if let Some(most) = self
            .call
            .spec
            .max_decoded
            .filter(|most| self.decoded > *most)
        {
            let length = self.decoded.min((most + 1).next_multiple_of(DECODED_STEP));
            return Err(CallError::new(
                ErrorKind::Abort,
                format!("Rejected when decompressing body, length: {length}"),
            ));
        }
        if !data.is_empty() {
            return self.emit(data);
        }
        if self.call.spec.streamed && !self.announced && inflater.header_read() {
            return self.hand_out(&[]);
        }
        Ok(())
    }

    fn emit(&mut self, data: &[u8]) -> Result<(), CallError> {
        self.emitted += data.len() as u64;
        self.within_limit(self.emitted)?;
        if self.call.spec.streamed {
            return self.hand_out(data);
        }
        self.body.add(data)
    }

    fn hand_out(&mut self, data: &[u8]) -> Result<(), CallError> {
        self.announced = true;
        let credit = &self.call.control.credit;
        let left = credit.load(Relaxed).saturating_sub(data.len() as i64);
        credit.store(left, Relaxed);
        match self.call.shared().sink.on_body(self.call.id, data) {
            true => Ok(()),
            false => Err(CallError::refused()),
        }
    }

    fn end_body(&self) -> Result<(), CallError> {
        self.inflater.as_ref().map_or(Ok(()), Inflater::finish)
    }
}
