//! A connected byte stream, TCP or Unix, split so that the loop reads and any
//! thread may write.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::{TcpStream, tcp};

use super::output::Chunk;
use crate::net::platform::{self, BorrowedSocket, UnixStream, send_file, unix};

/// The loop's half.
#[derive(Debug)]
pub(crate) enum ReadHalf {
    Tcp(tcp::OwnedReadHalf),
    Unix(unix::OwnedReadHalf),
}

/// The half that any thread may write to.
#[derive(Debug)]
pub(crate) enum WriteHalf {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

/// Both ends' addresses; `None` for Unix domain sockets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    pub(crate) local: Option<SocketAddr>,
    pub(crate) peer: Option<SocketAddr>,
}

pub(crate) fn split_tcp(stream: TcpStream, peer: SocketAddr) -> (ReadHalf, WriteHalf, Ends) {
    let ends = Ends {
        local: stream.local_addr().ok(),
        peer: Some(peer),
    };
    let (read, write) = stream.into_split();
    (ReadHalf::Tcp(read), WriteHalf::Tcp(write), ends)
}

pub(crate) fn split_unix(stream: UnixStream) -> (ReadHalf, WriteHalf, Ends) {
    let (read, write) = stream.into_split();
    (
        ReadHalf::Unix(read),
        WriteHalf::Unix(write),
        Ends::default(),
    )
}

impl ReadHalf {
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(read) => Pin::new(read).poll_read(cx, buf),
            Self::Unix(read) => Pin::new(read).poll_read(cx, buf),
        }
    }

    /// Whether the peer has closed its side, even if unread bytes are queued before that.
    pub(crate) fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        let ready = match self {
            Self::Tcp(read) => pin!(read.ready(Interest::READABLE)).poll(cx),
            Self::Unix(read) => pin!(read.ready(Interest::READABLE)).poll(cx),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Whether the connection is broken, even if unread bytes are queued.
    pub(crate) fn is_broken(&self, cx: &mut Context<'_>) -> bool {
        let interest = Interest::READABLE | Interest::ERROR;
        let ready = match self {
            Self::Tcp(read) => pin!(read.ready(interest)).poll(cx),
            Self::Unix(read) => pin!(read.ready(interest)).poll(cx),
        };
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_error())
    }
}

impl WriteHalf {
    pub(crate) fn try_write(&self, chunk: &Chunk<'_>) -> io::Result<usize> {
        match (self, chunk) {
            // A plain write is the cheaper call.
            (Self::Tcp(write), Chunk::Bytes([bytes])) => write.try_write(bytes),
            (Self::Unix(write), Chunk::Bytes([bytes])) => write.try_write(bytes),
            (Self::Tcp(write), Chunk::Bytes(slices)) => write.try_write_vectored(slices),
            (Self::Unix(write), Chunk::Bytes(slices)) => write.try_write_vectored(slices),
            (Self::Tcp(write), Chunk::Probe) => write.as_ref().try_io(Interest::WRITABLE, || Ok(0)),
            (Self::Unix(write), Chunk::Probe) => {
                write.as_ref().try_io(Interest::WRITABLE, || Ok(0))
            }
            (Self::Tcp(write), Chunk::File(file, at, count)) => {
                let socket = write.as_ref();
                socket.try_io(Interest::WRITABLE, || send_file(socket, file, *at, *count))
            }
            (Self::Unix(write), Chunk::File(file, at, count)) => {
                let socket = write.as_ref();
                socket.try_io(Interest::WRITABLE, || send_file(socket, file, *at, *count))
            }
        }
    }

    /// Like [`Self::try_write`] for the loop: when the socket is full, the loop is woken once it is not.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, chunk: &Chunk<'_>) -> io::Result<usize> {
        loop {
            let ready = match self {
                Self::Tcp(write) => write.as_ref().poll_write_ready(cx),
                Self::Unix(write) => write.as_ref().poll_write_ready(cx),
            };
            match ready {
                Poll::Pending => return Err(io::ErrorKind::WouldBlock.into()),
                Poll::Ready(ready) => ready?,
            }
            match self.try_write(chunk) {
                // It was not ready after all, and tokio has noted that.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return written,
            }
        }
    }

    /// Whether unread bytes have arrived.
    pub(crate) fn has_input(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let peeked = match self {
            Self::Tcp(write) => SockRef::from(write.as_ref()).peek(&mut byte),
            Self::Unix(write) => SockRef::from(write.as_ref()).peek(&mut byte),
        };
        matches!(peeked, Ok(1..))
    }

    pub(crate) fn borrow(&self) -> BorrowedSocket<'_> {
        match self {
            Self::Tcp(write) => platform::borrow(write.as_ref()),
            Self::Unix(write) => platform::borrow(write.as_ref()),
        }
    }

    /// Ends our side of the stream; errors mean that it has ended already.
    pub(crate) fn shutdown(&self) {
        let _ = match self {
            Self::Tcp(write) => SockRef::from(write.as_ref()).shutdown(Shutdown::Write),
            Self::Unix(write) => SockRef::from(write.as_ref()).shutdown(Shutdown::Write),
        };
    }

    /// Makes the following close a reset, so that the peer notices immediately.
    pub(crate) fn reset_on_close(&self) {
        if let Self::Tcp(write) = self {
            let _ = SockRef::from(write.as_ref()).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Drops this half without the extra shutdown call that a plain drop makes.
    pub(crate) fn release(self) {
        match self {
            Self::Tcp(write) => write.forget(),
            Self::Unix(write) => write.forget(),
        }
    }
}
