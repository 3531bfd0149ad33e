//! A WebSocket's state between frames: which side has closed, and which has been silent.
//!
//! Nothing is sent or reported here; `websocket.rs` does that.

use std::time::Duration;

use tokio::time::Instant;

use super::timers::starts_over;
use super::types::{Event, Interest, Pings};
use crate::ws::{self, Decoder, Fault};

/// Close code for a peer that disconnects without a close frame, and for a stopping server.
pub(super) const GOING_AWAY: u16 = 1001;

#[derive(Debug)]
pub(super) struct Session {
    decoder: Decoder,
    pub(super) interest: Interest,
    /// Our close frame is sent: data from the peer is ignored until its close frame arrives.
    closing: bool,
    /// User code knows that the channel is closed: it was told, or it closed the channel itself.
    reported: bool,
    /// Bytes of pongs queued since the output was last empty. They grow while the peer does not read.
    unread_replies: usize,
    pings: Option<Pings>,
    /// We have sent a ping and received nothing since.
    awaiting: bool,
}

/// What to do when the session's timer fires.
pub(super) enum Tick {
    Nothing,
    Ping,
    GiveUp,
}

impl Session {
    pub(super) fn new(max_message: u64, interest: Interest, pings: Option<Pings>) -> Box<Self> {
        Box::new(Self {
            decoder: Decoder::new(max_message),
            interest,
            closing: false,
            reported: false,
            unread_replies: 0,
            pings,
            awaiting: false,
        })
    }

    /// How many of `bytes` were used, and the event that they completed.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<(usize, Option<ws::Event>), Fault> {
        self.decoder.decode(bytes)
    }

    /// Bytes of a message that has arrived in part.
    pub(super) fn held(&self) -> usize {
        self.decoder.held()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Records that we close, so that the peer's close is not reported again. False if we had closed before.
    pub(super) fn close(&mut self) -> bool {
        self.reported |= !self.closing;
        !std::mem::replace(&mut self.closing, true)
    }

    /// The peer's close frame has arrived. Returns whether to send one back, and whether to tell user code.
    pub(super) fn closed_by_peer(&mut self) -> (bool, bool) {
        let respond = !std::mem::replace(&mut self.closing, true);
        let report = !std::mem::replace(&mut self.reported, true);
        (respond, report)
    }

    /// The event for user code when TCP ends without a close frame.
    pub(super) fn lost(&self) -> Option<Event> {
        (!self.reported).then(|| Event::Closed(i32::from(GOING_AWAY), String::new()))
    }

    /// A pong of this length was sent; `all_is_written` says whether the socket has accepted it.
    pub(super) fn note_pong(&mut self, bytes: usize, all_is_written: bool) {
        self.unread_replies = match all_is_written {
            true => 0,
            false => self.unread_replies + bytes,
        };
    }

    pub(super) fn unread_replies(&self) -> usize {
        self.unread_replies
    }

    /// How long to wait after the last received byte, or after our ping.
    pub(super) fn patience(&self) -> Option<Duration> {
        let pings = self.pings.filter(|_| !self.closing)?;
        Some(if self.awaiting {
            pings.timeout
        } else {
            pings.interval
        })
    }

    /// That time ended at `deadline`.
    pub(super) fn tick(&mut self, deadline: Instant) -> Tick {
        match self.pings {
            None => Tick::Nothing,
            Some(_) if self.awaiting && starts_over(deadline) => Tick::Nothing,
            Some(_) if self.awaiting => {
                self.reported = true;
                Tick::GiveUp
            }
            Some(_) => {
                self.awaiting = true;
                Tick::Ping
            }
        }
    }

    /// Something was received.
    pub(super) fn heard(&mut self) {
        self.awaiting = false;
    }
}
