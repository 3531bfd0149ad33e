//! One request and its response on one connection.
//!
//! Reading and writing run concurrently: a response may come while the request is still being written. If it refuses the
//! request, the exchange ends; else when the rest of the request is written, or the peer leaves. Beyond the caller's
//! window, no more than one read is kept.
//!
//! Not here: what happens to the body's bytes (`intake.rs`).

use super::call::{Call, Limit};
use super::connect::Conn;
use super::decode::{Decoder, Event};
use super::decompress::Coding;
use super::error::CallError;
use super::intake::Intake;
use super::outgoing::{self, Outgoing};
use super::seat::Sent;
use super::sink::Head;
use super::spec::{Method, Upload};
use super::stats::Stats;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

/// Longest silence for which a complete response waits for the rest of its request, however patient the call is: the
/// source may be waiting for the response's end.
const MOST_AFTER_RESPONSE: Duration = Duration::from_secs(60);

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
    // A loop that was held up may learn late that it is connected: nothing is sent after the deadline.
    if let (None, Some(error)) = (sent, call.overdue(exchange.last)) {
        return Ended::Failed(error);
    }
    let result = poll_fn(|cx| exchange.poll(cx)).await;
    match result {
        Ok(()) => exchange.complete(),
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
    intake: Intake<'a>,
    /// Wire bytes behind a piece, kept for lack of window or until the next turn.
    backlog: Vec<u8>,
    /// It ran out of window or turn: continue with what is kept before reading.
    stalled: bool,
    /// The response is complete. The rest of the request may still be due.
    answered: bool,
    /// The peer sent more than the response, or left.
    surplus: bool,
    /// When bytes last moved, and how many had moved by then.
    last: Instant,
    moved: u64,
    /// When the send queue was looked at, or `last`; and what it held, if it was looked at since bytes moved.
    looked: Instant,
    queue: Option<u64>,
}

impl<'a> Exchange<'a> {
    fn new(conn: &'a mut Conn, call: &'a Call, sent: Option<Sent>) -> Self {
        let begun = sent.map_or_else(Instant::now, |sent| sent.at);
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
            intake: Intake::new(call),
            backlog: Vec::new(),
            stalled: false,
            answered: false,
            surplus: false,
            last: begun,
            looked: begun,
            queue: None,
        }
    }

    fn complete(&mut self) -> Ended {
        let decoder = std::mem::replace(&mut self.response.decoder, Decoder::new(false));
        let response = Response {
            decoder,
            ..self.response
        };
        let agreed = response.decoder.reusable() && !outgoing::is_last(&self.call.spec.head);
        Ended::Complete(Box::new(Complete {
            reusable: !self.surplus && self.outgoing.done() && agreed,
            response,
            body: self.intake.take(),
        }))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Stop>> {
        self.call.control.wait(cx);
        self.intake.begin_turn();
        let mut progress = false;
        loop {
            if self.intake.has_used_turn() {
                // This wakes the task again after the loop has next polled its sockets.
                let _ = pin!(yield_now()).poll(cx);
                break;
            }
            self.call.control.broken()?;
            let wrote = self.outgoing.poll(cx, self.conn, self.call)?;
            let read = match self.answered {
                false => self.read(cx)?,
                true => self.read_on(cx),
            };
            if let Progress::Complete { surplus } = read {
                (self.answered, self.surplus) = (true, surplus);
            }
            if self.answered && !self.has_more_to_send() {
                return Poll::Ready(Ok(()));
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
            (self.looked, self.queue) = (self.last, None);
        }
        let error = ready!(self.poll_limit(cx));
        // What is late once the response is there is the rest of the request: that is given up.
        Poll::Ready(match self.answered {
            true => Ok(()),
            false => Err(Stop::Failed(error)),
        })
    }

    /// Silence counts only while we wait for the peer; after the response, also that of the source.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<CallError> {
        let ours = self.intake.is_blocked() || self.outgoing.waits_for_source();
        let ours = ours && !self.answered;
        loop {
            let Some(mut limit) = self.call.idle_limit((!ours).then_some(self.last)) else {
                return Poll::Pending;
            };
            if self.answered {
                limit.at = limit.at.min(self.last + MOST_AFTER_RESPONSE);
            }
            let look = match ours {
                false => self.next_look(&limit),
                true => None,
            };
            let Some(look) = look else {
                return limit.poll(cx, &mut self.conn.timer, self.last);
            };
            ready!(self.conn.timer.poll_until(cx, look));
            self.look();
        }
    }

    /// When to look at the send queue, unless it is empty: at `limit` for the last time.
    fn next_look(&self, limit: &Limit) -> Option<Instant> {
        let due = self.queue != Some(0) && self.looked < limit.at;
        let look = self.call.look_after(self.looked).filter(|_| due);
        look.map(|look| look.min(limit.at))
    }

    /// A slow peer drains the kernel's buffer for long before the kernel accepts more from us. It is not silent then.
    fn look(&mut self) {
        self.looked = Instant::now();
        let unsent = self.call.shared().config.unsent;
        let queue = unsent.zip(self.conn.stream.socket());
        let queue = queue.map_or(0, |(unsent, socket)| unsent(socket));
        if self.queue.is_some_and(|before| queue < before) {
            self.last = self.looked;
        }
        self.queue = Some(queue);
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Result<Progress, Stop> {
        if self.intake.is_blocked() {
            // The body may end without another byte; if one comes, it is kept.
            let kept = self.intake.has_kept() || !self.backlog.is_empty();
            if kept || (!self.intake.is_coded() && self.response.decoder.in_body()) {
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

    /// Whether the rest of the request is to be sent although the response is complete (RFC 9110, 7.5).
    fn has_more_to_send(&self) -> bool {
        !self.outgoing.is_over() && self.response.decoder.wants_request()
    }

    /// After the response: what the peer sends is of no use, but it may leave.
    fn read_on(&mut self, cx: &mut Context<'_>) -> Progress {
        let mut scratch = self.call.shared().scratch.lock();
        let mut buf = ReadBuf::new(&mut scratch);
        let read = Pin::new(&mut self.conn.stream).poll_read(cx, &mut buf);
        if read.is_pending() {
            return Progress::Nothing;
        }
        self.surplus = true;
        if buf.filled().is_empty() {
            self.outgoing.give_up();
        }
        Progress::Some
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
        self.intake.end_body()?;
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
        self.intake.resume()?;
        let backlog = std::mem::take(&mut self.backlog);
        Ok(self.decode(&backlog)?)
    }

    fn decode(&mut self, mut input: &[u8]) -> Result<Progress, CallError> {
        loop {
            let full = !self.intake.is_coded() && self.intake.is_blocked();
            let decoder = &mut self.response.decoder;
            let event = match (self.intake.has_kept(), full) {
                (true, _) => None,
                (false, true) => decoder.next_but_body(&mut input)?,
                (false, false) => Some(decoder.next(&mut input)?),
            };
            match event {
                None => {
                    self.stalled = true;
                    self.backlog = input.to_vec();
                    return Ok(Progress::Some);
                }
                Some(Event::More) => {
                    self.stalled = self.intake.is_blocked();
                    return Ok(Progress::Some);
                }
                Some(Event::Status) => {}
                Some(Event::Headers) => self.on_headers()?,
                Some(Event::Body(piece)) => self.intake.on_piece(piece)?,
                Some(Event::Trailers) => self.response.trailers = true,
                Some(Event::End) => {
                    self.intake.end_body()?;
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
            let coding = coding.and_then(|name| Coding::of(&name));
            self.response.decoded = coding.is_some();
            self.intake.set_coding(coding);
        }
        self.intake
            .check_announced(self.response.decoder.announced())?;
        let sink = &self.call.shared().sink;
        if spec.streamed && !sink.on_head(self.call.id, &self.response.head()) {
            return Err(CallError::refused());
        }
        Ok(())
    }
}
