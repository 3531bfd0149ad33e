//! The loop's side of a socket.

use std::cell::RefCell;
use std::io;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::socket::ReadHalf;

/// Most bytes per read.
pub(super) const READ: usize = 64 * 1024;

thread_local! {
    /// All connections on a thread read into this, so that an idle one owns no buffer.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
}

/// The loop's side: bytes from the peer.
#[derive(Debug)]
pub(super) struct Reader {
    socket: ReadHalf,
}

impl Reader {
    pub(super) fn new(socket: ReadHalf) -> Self {
        Self { socket }
    }

    /// Passes received bytes to `received`; an empty slice is the peer's end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        received: impl FnOnce(io::Result<&mut [u8]>),
    ) -> Poll<()> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buf = ReadBuf::new(scratch);
            match self.socket.poll_read(cx, &mut buf) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => received(Ok(buf.filled_mut())),
                Poll::Ready(Err(e)) => received(Err(e)),
            }
            Poll::Ready(())
        })
    }

    /// Whether the connection is broken, even if unread bytes are queued.
    pub(super) fn is_broken(&self, cx: &mut Context<'_>) -> bool {
        self.socket.is_broken(cx)
    }

    /// Whether the peer has closed its side, even if unread bytes are queued before that.
    pub(super) fn peer_closed(&self, cx: &mut Context<'_>) -> bool {
        self.socket.peer_closed(cx)
    }
}
