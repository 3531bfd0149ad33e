//! The outgoing request, written as fast as the socket accepts it.

use super::call::Call;
use super::connect::Conn;
use super::error::{CallError, ErrorKind};
use super::headers::lists;
use super::spec::Upload;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// Most bytes of a streamed upload on their way to the socket.
const SEND_WINDOW: usize = 128 * 1024;
/// Credit is returned in amounts of at least this size.
const SEND_STEP: usize = 64 * 1024;
/// The outgoing request.
pub(super) struct Outgoing {
    /// Bytes to write, each with the payload bytes whose credit it returns.
    pieces: VecDeque<(Bytes, usize)>,
    upload: Upload,
    /// Payload bytes still to come, if the length is known.
    rest: u64,
    source_done: bool,
    greeted: bool,
    /// Payload bytes written and not yet returned as credit.
    written: usize,
    unflushed: bool,
    /// The peer takes no more: only the response matters now.
    broken: bool,
}

impl Outgoing {
    /// Of `call`, of which `sent` bytes have been written.
    pub(super) fn new(call: &Call, sent: usize) -> Self {
        let spec = &call.spec;
        let mut pieces = VecDeque::from([(spec.head.clone(), 0)]);
        if spec.upload == Upload::Whole && !spec.body.is_empty() {
            pieces.push_back((spec.body.clone(), 0));
        }
        let mut outgoing = Self {
            pieces,
            upload: spec.upload,
            rest: match spec.upload {
                Upload::Length(length) => length,
                _ => 0,
            },
            source_done: spec.upload == Upload::Whole,
            greeted: spec.upload == Upload::Whole,
            written: 0,
            unflushed: false,
            broken: false,
        };
        if sent > 0 {
            outgoing.advance(sent);
        }
        outgoing
    }

    pub(super) fn done(&self) -> bool {
        self.source_done && self.pieces.is_empty() && !self.unflushed && !self.broken
    }

    /// Whether nothing more is written: all of it has been, or the peer takes no more.
    pub(super) fn is_over(&self) -> bool {
        self.broken || self.done()
    }

    /// The peer has left.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
    }

    pub(super) fn waits_for_source(&self) -> bool {
        !self.source_done && self.pieces.is_empty() && !self.broken
    }

    /// Writes what the socket accepts; returns whether it accepted anything.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        conn: &mut Conn,
        call: &Call,
    ) -> Result<bool, CallError> {
        if self.broken {
            return Ok(false);
        }
        if !self.greeted {
            self.greeted = true;
            grant(call, SEND_WINDOW)?;
        }
        let mut progress = false;
        loop {
            self.accept(call)?;
            if self.pieces.is_empty() {
                break;
            }
            match self.write(cx, conn) {
                Poll::Pending => break,
                // The peer may have responded before it closed the connection.
                Poll::Ready(Err(_)) => {
                    self.broken = true;
                    return Ok(true);
                }
                Poll::Ready(Ok(())) => progress = true,
            }
            self.give_credit(call)?;
        }
        if self.pieces.is_empty() && self.unflushed {
            match Pin::new(&mut conn.stream).poll_flush(cx) {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => self.broken = true,
                Poll::Ready(Ok(())) => self.unflushed = false,
            }
        }
        Ok(progress)
    }

    /// Queues the pieces that the source has sent.
    fn accept(&mut self, call: &Call) -> Result<(), CallError> {
        if self.source_done {
            return Ok(());
        }
        let mut upload = call.control.upload.lock();
        while let Some((data, last)) = upload.pop_front() {
            self.source_done = last;
            match self.upload {
                Upload::Chunked => self.push_chunk(data, last),
                _ => self.push_counted(data, last)?,
            }
        }
        Ok(())
    }

    fn push_chunk(&mut self, data: Bytes, last: bool) {
        let payload = data.len();
        if payload > 0 {
            let size = format!("{payload:x}\r\n");
            self.pieces.push_back((Bytes::from(size), 0));
            self.pieces.push_back((data, payload));
            self.pieces.push_back((Bytes::from_static(b"\r\n"), 0));
        }
        if last {
            self.pieces.push_back((Bytes::from_static(b"0\r\n\r\n"), 0));
        }
    }

    fn push_counted(&mut self, data: Bytes, last: bool) -> Result<(), CallError> {
        let payload = data.len();
        let fits = self.rest.checked_sub(payload as u64);
        match fits {
            Some(rest) if rest == 0 || !last => self.rest = rest,
            _ => {
                return Err(CallError::new(
                    ErrorKind::Io,
                    "Request body does not have the length that was announced",
                ));
            }
        }
        if payload > 0 {
            self.pieces.push_back((data, payload));
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<io::Result<()>> {
        let stream = Pin::new(&mut conn.stream);
        let n = if stream.is_write_vectored() && self.pieces.len() > 1 {
            let slices: [IoSlice<'_>; 4] = std::array::from_fn(|at| {
                let piece = self.pieces.get(at);
                IoSlice::new(piece.map_or(&[], |(bytes, _)| bytes))
            });
            ready!(stream.poll_write_vectored(cx, &slices))?
        } else {
            let first = self.pieces.front().map_or(&[][..], |(bytes, _)| bytes);
            ready!(stream.poll_write(cx, first))?
        };
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.unflushed = true;
        self.advance(n);
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut n: usize) {
        while let Some((bytes, payload)) = self.pieces.front_mut() {
            let part = n.min(bytes.len());
            bytes.advance(part);
            n -= part;
            if !bytes.is_empty() {
                return;
            }
            self.written += *payload;
            self.pieces.pop_front();
        }
    }

    fn give_credit(&mut self, call: &Call) -> Result<(), CallError> {
        let due = self.written >= SEND_STEP || (self.written > 0 && self.pieces.is_empty());
        if due && !self.source_done {
            grant(call, self.written)?;
            self.written = 0;
        }
        Ok(())
    }
}

/// Whether a request's head says that no other request follows it (RFC 9112, 9.6).
pub(super) fn is_last(head: &[u8]) -> bool {
    const NAME: &[u8] = b"connection:";
    head.split(|byte| *byte == b'\n').any(|line| {
        let field = line.split_at_checked(NAME.len());
        field.is_some_and(|(name, value)| name.eq_ignore_ascii_case(NAME) && lists(value, "close"))
    })
}

fn grant(call: &Call, n: usize) -> Result<(), CallError> {
    match call.shared().sink.on_send_credit(call.id, n) {
        true => Ok(()),
        false => Err(CallError::refused()),
    }
}
