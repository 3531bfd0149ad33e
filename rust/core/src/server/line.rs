//! What lies between a connection's plaintext and its socket: nothing, or a TLS session.

use std::io;
use std::task::Context;

use super::output::{Chunk, Failure, Output};
use super::records::BATCH;
use super::socket::WriteHalf;
use super::tls::Tls;

/// Most bytes that a responding thread seals in one turn, under the connection's lock.
const MOST_AT_ONCE: usize = 1024 * 1024;

/// The carrier of a connection's bytes. TLS is boxed, so that a plain connection does not pay for it.
#[derive(Debug)]
pub(super) enum Line {
    Plain(WriteHalf),
    Tls(Box<Tls>),
}

impl Line {
    pub(super) fn socket(&self) -> &WriteHalf {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }

    pub(super) fn into_socket(self) -> WriteHalf {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => tls.socket,
        }
    }

    pub(super) fn try_write(&mut self, chunk: &Chunk<'_>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.try_write(chunk),
            Self::Tls(tls) => tls.write(chunk, MOST_AT_ONCE, &mut WriteHalf::try_write),
        }
    }

    /// Bytes that have been accepted from above and not by the socket.
    pub(super) fn sealed(&self) -> usize {
        match self {
            Self::Plain(_) => 0,
            Self::Tls(tls) => tls.unsent(),
        }
    }
}

/// Seals and writes bytes for one turn. True if it stopped only because the turn is over.
pub(super) fn flush_sealed(
    tls: &mut Tls,
    out: &mut Output,
    cx: &mut Context<'_>,
) -> Result<bool, Failure> {
    let write = &mut |socket: &WriteHalf, chunk: &Chunk<'_>| socket.poll_write(cx, chunk);
    match tls.flush(write) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(_) => return Err(Failure::Socket),
    }
    let (mut of_turn, mut is_over) = (0, false);
    let flushed = out.flush(|chunk| {
        is_over = of_turn >= BATCH;
        if is_over {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = tls.write(&chunk, BATCH, write)?;
        of_turn += written;
        Ok(written)
    })?;
    Ok(flushed || is_over)
}
