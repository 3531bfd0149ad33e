//! Handshakes whose signature takes too long for a loop: with an RSA key, that is most of a millisecond. They continue
//! on a thread of the runtime's blocking pool, which ends with the loop.
//!
//! Nothing else of a connection goes there: hellos that are incomplete or invalid cost little.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::Mutex;
use rustls::server::UnbufferedServerConnection;

use super::connection::Conn;
use super::hello::Hello;
use super::records::{Opened, open_records};
use super::tls::{Tls, TlsStage};
use crate::net::tls_server::take_asked_for;

/// Most bytes that are kept for a peer that should be waiting for our hello.
const MAX_EARLY: usize = 72 * 1024;

/// A server hello with these bytes instead of random ones asks for another client hello (RFC 8446, 4.1.3).
const RETRY: [u8; 8] = [0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11];
/// Where they are: behind the heads of record and message, and the version.
const RANDOM: usize = 5 + 4 + 2;

/// Most threads of a loop that sign.
pub(super) fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// What is to be done with received bytes.
pub(super) enum Verdict {
    /// Open them here.
    Open,
    /// Keep them: nothing can be done yet.
    Wait,
    /// Continue the handshake elsewhere.
    Sign(Handshake),
    /// The peer sends more than it may.
    Refuse,
}

/// A handshake that is taken out of its connection.
pub(super) struct Handshake {
    session: Box<UnbufferedServerConnection>,
    received: Vec<u8>,
}

/// The same, with the server's response.
struct Signed {
    session: Box<UnbufferedServerConnection>,
    rest: Vec<u8>,
    response: Vec<u8>,
    name: Option<Box<str>>,
    opened: Opened,
}

impl Handshake {
    fn try_sign(self) -> Option<Signed> {
        catch_unwind(AssertUnwindSafe(|| self.sign())).ok()
    }

    fn sign(mut self) -> Signed {
        let (mut plain, mut response) = (Vec::new(), Vec::new());
        let mut opened = Opened::default();
        let session = &mut self.session;
        let used = open_records(
            session,
            &mut self.received,
            &mut plain,
            &mut response,
            &mut opened,
        );
        self.received.drain(..used);
        Signed {
            session: self.session,
            rest: self.received,
            response,
            name: take_asked_for(),
            opened,
        }
    }
}

impl Tls {
    /// Whether another thread signs its handshake.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.stage, TlsStage::Away)
    }

    /// Decides where received bytes are opened. All but [`Verdict::Open`] takes them.
    pub(super) fn next(&mut self, fresh: &[u8]) -> Verdict {
        if !self.slow_hello && !self.is_away() {
            return Verdict::Open;
        }
        if self.received.len() + fresh.len() > MAX_EARLY {
            return Verdict::Refuse;
        }
        if self.is_away() {
            self.received.extend_from_slice(fresh);
            return Verdict::Wait;
        }
        let mut received = mem::take(&mut self.received);
        received.extend_from_slice(fresh);
        match (
            Hello::of(&received),
            mem::replace(&mut self.stage, TlsStage::Away),
        ) {
            (Hello::Whole, TlsStage::Begun(session)) => {
                Verdict::Sign(Handshake { session, received })
            }
            (hello, stage) => {
                self.stage = stage;
                if hello == Hello::Other {
                    self.slow_hello = false;
                    received.truncate(received.len() - fresh.len());
                }
                self.received = received;
                match hello {
                    Hello::Other => Verdict::Open,
                    Hello::Crumbs => Verdict::Refuse,
                    _ => Verdict::Wait,
                }
            }
        }
    }

    fn back(&mut self, signed: Signed) -> Opened {
        self.slow_hello = signed.response.get(RANDOM..RANDOM + RETRY.len()) == Some(&RETRY);
        self.stage = match signed.opened.failed {
            Some(_) => TlsStage::Over,
            None => TlsStage::Begun(signed.session),
        };
        self.name = signed.name;
        self.unsent.extend_from_slice(&signed.response);
        self.received.splice(..0, signed.rest);
        signed.opened
    }
}

impl Conn {
    /// Continues a handshake on a thread that may block; on this one if the system has no thread for that.
    pub(super) fn sign(self: &Arc<Self>, handshake: Handshake) {
        let left = Arc::new(Mutex::new(Some(handshake)));
        let (conn, mine) = (Arc::downgrade(self), left.clone());
        let elsewhere = move || {
            if let (Some(conn), Some(handshake)) = (conn.upgrade(), mine.lock().take()) {
                conn.signed(handshake.try_sign());
            }
        };
        // Without a thread, this panics but keeps the task, which then finds nothing to do.
        let begun = catch_unwind(AssertUnwindSafe(|| {
            drop(tokio::task::spawn_blocking(elsewhere));
        }));
        if begun.is_err()
            && let Some(handshake) = left.lock().take()
        {
            self.signed(handshake.try_sign());
        }
    }

    fn signed(self: &Arc<Self>, signed: Option<Signed>) {
        let mut state = self.lock();
        match (state.transport.tls_mut(), signed) {
            (Some(tls), Some(signed)) if tls.is_away() => {
                let opened = tls.back(signed);
                // The wait for a thread was not the peer's.
                state.since = self.shared.clock.now();
                let goes_on = opened.failed.is_none();
                self.opened(state, (true, 0), opened, &[]);
                state = self.lock();
                if goes_on {
                    // What has arrived meanwhile.
                    self.received_sealed(state, &mut []);
                    state = self.lock();
                }
                state.transport.flush();
            }
            (Some(tls), None) if tls.is_away() => state.lost(self),
            // The connection has ended meanwhile.
            _ => {}
        }
        drop(state);
        self.shared.tally.note_written();
    }
}
