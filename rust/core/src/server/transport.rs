//! The bytes of one connection: read as they arrive, and sent in order, as fast as the peer reads them.
//!
//! Knows no HTTP. The code above reads and writes plaintext, and cannot tell whether it goes over the socket as it is:
//! TLS is a kind of [`Line`]. The reader is the task's own (`reader.rs`), since only the loop reads; the transport is
//! under the connection's lock, since any thread may write. It also holds the TLS session, so received records are
//! opened there (`secured.rs`).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::task::{Context, Waker};

use super::line::{Line, flush_sealed};
use super::output::{Chunk, Failure, Output};
use super::payload::{Kept, Payload};
use super::socket::WriteHalf;
use super::tls::Tls;
use crate::net::platform::BorrowedSocket;

/// Queued bytes at which corked output is flushed.
pub(super) const CORK_SIZE: usize = 16 * 1024;
/// A thread's buffer that has grown beyond this, for a long chunk, is dropped after use.
const MAX_KEPT: usize = 64 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `send` on this thread's buffer, cleared, to assemble bytes before they are written.
pub(super) fn with_buffer<R>(send: impl FnOnce(&mut Vec<u8>) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let result = send(buffer);
        if buffer.capacity() > MAX_KEPT {
            *buffer = Vec::new();
        }
        result
    })
}

/// The side that any thread may write to, with its unsent output.
#[derive(Debug)]
pub(super) struct Transport {
    /// `None` once it is closed.
    line: Option<Line>,
    out: Output,
    /// `out` may be held back, to be combined with what follows.
    corked: bool,
    /// A write has failed, or what was queued is lost otherwise. The read side reports the cause, unless the peer has
    /// ended its side.
    broken: bool,
    /// Content could not be read to its end; the peer must be able to tell.
    failed_content: Option<Box<io::Error>>,
    /// The connection's task: it sends what the socket did not accept immediately.
    task: Option<Waker>,
}

impl Transport {
    pub(super) fn new(socket: WriteHalf) -> Self {
        Self {
            line: Some(Line::Plain(socket)),
            out: Output::default(),
            corked: false,
            broken: false,
            failed_content: None,
            task: None,
        }
    }

    /// Before anything has been read: TLS is expected.
    pub(super) fn secure(&mut self) {
        if let Some(Line::Plain(socket)) = self.line.take() {
            self.line = Some(Line::Tls(Box::new(Tls::new(socket))));
        }
    }

    /// The peer does not speak TLS: bytes go over the socket as they are.
    pub(super) fn plain(&mut self) {
        self.line = self.line.take().map(|line| Line::Plain(line.into_socket()));
    }

    pub(super) fn tls(&self) -> Option<&Tls> {
        match &self.line {
            Some(Line::Tls(tls)) => Some(tls),
            _ => None,
        }
    }

    pub(super) fn tls_mut(&mut self) -> Option<&mut Tls> {
        match &mut self.line {
            Some(Line::Tls(tls)) => Some(tls),
            _ => None,
        }
    }

    /// How many bytes are queued.
    pub(super) fn pending(&self) -> usize {
        self.out.len() + self.sealed()
    }

    pub(super) fn all_is_written(&self) -> bool {
        self.out.is_empty() && self.sealed() == 0
    }

    /// How many queued bytes are in our own memory.
    pub(super) fn in_memory(&self) -> usize {
        self.out.in_memory() + self.sealed()
    }

    /// How many bytes have been written or queued since the connection began.
    pub(super) fn position(&self) -> u64 {
        self.out.written() + self.out.len() as u64
    }

    /// How many of them the socket has, at least: sealed bytes that it has not count as plaintext.
    pub(super) fn sent(&self) -> u64 {
        self.out.written().saturating_sub(self.sealed() as u64)
    }

    fn sealed(&self) -> usize {
        self.line.as_ref().map_or(0, Line::sealed)
    }

    pub(super) fn is_corked(&self) -> bool {
        self.corked
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The error that made content unreadable; returned once.
    pub(super) fn take_failed_content(&mut self) -> Option<Box<io::Error>> {
        self.failed_content.take()
    }

    /// Bytes of memory freed since the last call.
    pub(super) fn take_freed(&mut self) -> usize {
        self.out.take_freed()
    }

    /// Bytes the peer has taken so far. A slow peer drains the kernel's buffer for long before the kernel accepts more
    /// from us, so bytes still in the kernel (`unsent`) do not count.
    pub(super) fn taken(&self, unsent: fn(BorrowedSocket<'_>) -> u64) -> u64 {
        let taken = self.out.progress().wrapping_sub(self.in_kernel(unsent));
        match &self.line {
            // In the kernel are sealed bytes.
            Some(Line::Tls(tls)) => taken
                .wrapping_add(tls.added())
                .wrapping_sub(tls.unsent() as u64),
            _ => taken,
        }
    }

    /// Bytes that the kernel still holds, as the peer has not acknowledged them; 0 if unknown.
    pub(super) fn in_kernel(&self, unsent: fn(BorrowedSocket<'_>) -> u64) -> u64 {
        let line = self.line.as_ref();
        line.map_or(0, |line| unsent(line.socket().borrow()))
    }

    /// Whether bytes have arrived that are unread, or still worked on.
    pub(super) fn has_input(&self) -> bool {
        self.tls().is_some_and(Tls::is_away)
            || self
                .line
                .as_ref()
                .is_some_and(|line| line.socket().has_input())
    }

    /// Remembers the task to wake when output is left over.
    pub(super) fn served_by(&mut self, cx: &Context<'_>) {
        // A closed connection that user code still holds must not keep its task, and with it the runtime.
        if self.line.is_none() {
            return;
        }
        if !self
            .task
            .as_ref()
            .is_some_and(|task| task.will_wake(cx.waker()))
        {
            self.task = Some(cx.waker().clone());
        }
    }

    /// Wakes the connection's task.
    pub(super) fn wake(&self) {
        if let Some(task) = &self.task {
            task.wake_by_ref();
        }
    }

    /// Holds queued bytes back, to be combined with what follows, for about a millisecond at most.
    pub(super) fn cork(&mut self) {
        if !self.corked {
            self.corked = true;
            self.wake();
        }
    }

    /// As [`Self::flush`], from the task, which is woken when the socket has room.
    pub(super) fn flush_in_loop(&mut self, cx: &mut Context<'_>) -> bool {
        self.corked = false;
        let flushed = match &mut self.line {
            Some(Line::Plain(io)) => self.out.flush(|chunk| io.poll_write(cx, &chunk)),
            Some(Line::Tls(tls)) => flush_sealed(tls, &mut self.out, cx),
            None => return false,
        };
        if matches!(flushed, Ok(true)) {
            // Yield to other connections first.
            cx.waker().wake_by_ref();
        }
        self.flushed(flushed)
    }

    /// Writes as much of the queue as the socket accepts; the task writes the rest. True once all is written.
    pub(super) fn flush(&mut self) -> bool {
        self.corked = false;
        let Some(line) = &mut self.line else {
            return false;
        };
        if let Line::Tls(tls) = line {
            // A failure shows again in what follows, or in the loop.
            let _ = tls.flush(&mut WriteHalf::try_write);
        }
        let flushed = self.out.flush(|chunk| line.try_write(&chunk));
        let all = self.flushed(flushed);
        self.wake_if_unsent();
        all
    }

    fn flushed(&mut self, flushed: Result<bool, Failure>) -> bool {
        match flushed {
            Ok(_) => self.all_is_written(),
            Err(Failure::Socket) => self.write_failed(),
            Err(Failure::Content(error)) => {
                self.failed_content = Some(Box::new(error));
                self.write_failed()
            }
        }
    }

    /// The read side reports the cause and the close, unless the peer had ended its side already.
    fn write_failed(&mut self) -> bool {
        // A waiting sender is not told that the queue is empty; it learns of it when the connection is lost.
        self.out.clear();
        if let Some(tls) = self.tls_mut() {
            tls.give_up();
        }
        self.broken = true;
        self.wake();
        false
    }

    pub(super) fn wake_if_unsent(&self) {
        if !self.all_is_written() {
            self.wake();
        }
    }

    /// Queues a copy. The task is not woken: a flush or a cork must follow.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.out.push(bytes);
    }

    /// Queues the `len` bytes of a file from `at` on.
    pub(super) fn push_file(&mut self, file: File, at: u64, len: u64) {
        self.out.push_file(file, at, len);
    }

    /// Queues bytes that are copied only when they are sent.
    pub(super) fn push_kept(&mut self, kept: Kept) {
        self.out.push_kept(kept);
    }

    /// Writes `head` and `body` immediately if the queue is empty, and queues what the socket does not accept.
    pub(super) fn write(&mut self, head: &[u8], body: &[u8]) {
        if !self.out.is_empty() {
            self.out.push(head);
            self.out.push(body);
            return;
        }
        let slices = [IoSlice::new(head), IoSlice::new(body)];
        let used = match (head.is_empty(), body.is_empty()) {
            (true, _) => &slices[1..],
            (false, true) => &slices[..1],
            (false, false) => &slices,
        };
        let Some(written) = self.write_now(used) else {
            return;
        };
        if written < head.len() {
            self.out.push(&head[written..]);
            self.out.push(body);
        } else {
            self.out.push(&body[written - head.len()..]);
        }
        self.wake_if_unsent();
    }

    /// As [`Self::write`], for a large payload, which is not copied unless necessary.
    pub(super) fn write_payload(&mut self, head: &[u8], payload: Payload<'_>, tail: &[u8]) {
        if !self.out.is_empty() {
            return self.push_payload(head, payload, tail, 0);
        }
        let slices = [head, &payload, tail].map(IoSlice::new);
        let Some(written) = self.write_now(&slices) else {
            return;
        };
        self.push_payload(head, payload, tail, written);
        self.wake_if_unsent();
    }

    /// Queues all of these but the first `skip` bytes.
    pub(super) fn push_payload(
        &mut self,
        head: &[u8],
        payload: Payload<'_>,
        tail: &[u8],
        skip: usize,
    ) {
        let (body, behind) = (head.len(), head.len() + payload.len());
        self.out.push(&head[skip.min(body)..]);
        let of_payload = skip.clamp(body, behind) - body;
        if of_payload < payload.len() {
            self.out.push_payload(payload, of_payload);
        }
        self.out.push(&tail[skip.max(behind) - behind..]);
    }

    /// Writes as much as the socket accepts now, which is nothing while other bytes are queued. `None` if it failed.
    pub(super) fn write_now(&mut self, slices: &[IoSlice<'_>]) -> Option<usize> {
        let line = self.line.as_mut()?;
        if !self.out.is_empty() {
            return Some(0);
        }
        match line.try_write(&Chunk::Bytes(slices)) {
            Ok(written) => {
                self.out.note_written(written);
                Some(written)
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Some(0),
            Err(_) => {
                self.write_failed();
                None
            }
        }
    }

    /// Ends our side: nothing more can be written. To be called again while [`Self::tell_end`] is false.
    pub(super) fn end(&mut self) {
        if self.tell_end()
            && let Some(line) = &self.line
        {
            line.socket().shutdown();
        }
    }

    /// Tells the peer that all has been sent, where the socket's end alone does not prove that. False while the socket
    /// does not accept it; then something is unwritten, and the task is woken.
    pub(super) fn tell_end(&mut self) -> bool {
        let Some(Line::Tls(tls)) = &mut self.line else {
            return true;
        };
        match tls.close(&mut WriteHalf::try_write) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                self.wake();
                false
            }
            // If it fails, there is no peer to be told.
            _ => true,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.line.is_none()
    }

    /// Makes the following close a reset, so that the peer can tell that the response is incomplete.
    pub(super) fn reset_on_close(&mut self) {
        if let Some(tls) = self.tls_mut() {
            // It must not be told that this is the end.
            tls.give_up();
        }
        if let Some(line) = &self.line {
            line.socket().reset_on_close();
        }
    }

    /// Releases the socket and the buffers, and wakes the task for the last time.
    pub(super) fn close(&mut self) {
        if self.all_is_written() {
            self.tell_end();
        } else {
            self.broken = true;
        }
        if let Some(line) = self.line.take() {
            line.into_socket().release();
        }
        self.out.clear();
        self.wake();
        self.task = None;
    }
}
