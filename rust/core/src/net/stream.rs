//! One type for every kind of connection.

use super::hosted::HostedStream;
use super::is_lost;
use super::platform::{BorrowedSocket, UnixStream, borrow};
use socket2::SockRef;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Counts the bytes of a socket, readable without access to the socket. One thread at a time counts.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Bytes so far, both ways together.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self, n: usize) {
        let bytes = self.bytes().wrapping_add(n as u64);
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// A socket with a [`Meter`].
pub struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl<S> Metered<S> {
    /// Counts with `meter` from now on.
    pub fn new(inner: S, meter: Meter) -> Self {
        Self { inner, meter }
    }

    fn counted(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(n)) = result {
            self.meter.count(n);
        }
        result
    }
}

impl Metered<TcpStream> {
    /// Whether nothing has come that was not read, and the peer has not left. The runtime would not know what has come
    /// since its last turn.
    pub fn is_silent(&self) -> bool {
        match SockRef::from(&self.inner).peek(&mut [MaybeUninit::uninit()]) {
            Ok(_) => false,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Writes what the socket accepts now of `first` and then `second`, from any thread. Nothing if it fails for another
    /// reason than that the connection is lost, which is an error.
    pub fn try_write(&self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        let result = match second {
            [] => self.inner.try_write(first),
            _ => {
                let both = [IoSlice::new(first), IoSlice::new(second)];
                self.inner.try_write_vectored(&both)
            }
        };
        match result {
            Err(error) if !is_lost(&error) => Ok(0),
            result => result.inspect(|n| self.meter.count(*n)),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, out);
        self.meter.count(out.filled().len() - before);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, data);
        self.counted(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, data);
        self.counted(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A connected byte stream.
pub enum Stream {
    /// TCP
    Tcp(Metered<TcpStream>),
    /// Unix domain socket
    Unix(Metered<UnixStream>),
    /// TLS over another stream
    Tls(Box<TlsStream<Stream>>),
    /// Run by the embedder
    Hosted(HostedStream),
}

impl Stream {
    /// Its socket, unless the embedder has it.
    pub(crate) fn socket(&self) -> Option<BorrowedSocket<'_>> {
        match self {
            Stream::Tcp(stream) => Some(borrow(&stream.inner)),
            Stream::Unix(stream) => Some(borrow(&stream.inner)),
            Stream::Tls(stream) => stream.get_ref().0.socket(),
            Stream::Hosted(_) => None,
        }
    }
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
            Stream::Unix(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
            Stream::Tls(stream) => {
                let $inner = Pin::new(stream.as_mut());
                $call
            }
            Stream::Hosted(stream) => {
                let $inner = Pin::new(stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, out))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, data))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, data))
    }

    fn is_write_vectored(&self) -> bool {
        !matches!(self, Stream::Hosted(_))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
