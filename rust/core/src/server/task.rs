//! A connection's task on the loop.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::connection::{Conn, Next};
use super::exchange::Work;
use super::reader::Reader;
use super::sink::Notice;
use super::socket::ReadHalf;
use super::timers::Timers;

/// The task of a connection: runs until the connection ends.
///
/// Not an `async fn`, whose future would store its arguments twice.
pub(super) struct Task {
    conn: Arc<Conn>,
    reader: Reader,
    timers: Timers,
}

// What an idle connection takes, with its socket's registration. The runtime's task cell is 256 bytes up to a task of
// 152, and 384 above; glibc gives a shared connection of 392 bytes no more than one of 384.
const _: () = assert!(size_of::<Task>() <= 152 && size_of::<Conn>() <= 392);

impl Task {
    pub(super) fn new(conn: Arc<Conn>, read: ReadHalf) -> Self {
        Self {
            conn,
            reader: Reader::new(read),
            timers: Timers::default(),
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self {
            conn,
            reader,
            timers,
        } = self.get_mut();
        loop {
            let next = conn.lock().turn(conn, cx, timers, reader);
            conn.shared.tally.note_written();
            match next {
                Next::Read => {}
                Next::Wait => return Poll::Pending,
                Next::Close => return Poll::Ready(()),
                Next::Offer(request) => {
                    conn.shared.offer(Work::Request(*request));
                    continue;
                }
            }
            let received = reader.poll_read(cx, |received| match received {
                Err(_) => conn.lock().lost(conn),
                Ok([]) => conn.lock().ended(conn),
                Ok(fresh) => {
                    timers.heard();
                    conn.shared.tally.received(fresh.len());
                    conn.received(fresh);
                }
            });
            conn.shared.tally.note_written();
            if received.is_pending() {
                return Poll::Pending;
            }
        }
    }
}

/// Reports the connection's end however its task ends: normally, dropped with its loop, or by a panic.
impl Drop for Task {
    fn drop(&mut self) {
        self.conn.lock().lost(&self.conn);
        self.conn.shared.forget(&self.conn);
        if std::thread::panicking() {
            self.conn
                .shared
                .notice(Notice::LoopError("a connection's task panicked".into()));
        }
    }
}
