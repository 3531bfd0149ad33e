//! What a WebSocket remembers between frames: who has closed, and who has been silent.
//!
//! Nothing is sent or reported here; `websocket.rs` does that.

use std::time::Duration;

use super::types::{Event, Interest, Pings};
use crate::ws::{self, Decoder, Fault};

/// Close code of a peer that is gone without a close frame, and of a server that stops.
pub(super) const GOING_AWAY: u16 = 1001;

#[derive(Debug)]
pub(super) struct Session {
    decoder: Decoder,
    pub(super) interest: Interest,
    /// We have sent our close frame: data from the peer is ignored, its close frame awaited.
    closing: bool,
    /// User code has been told, or told us, that the channel is closed.
    reported: bool,
    /// Bytes of pongs that have been queued since all was written: a peer that does not read makes them grow.
    unread_replies: usize,
    pings: Option<Pings>,
    /// We have sent a ping, and nothing has come since.
    awaiting: bool,
}

/// What the session's timer asks of the connection.
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

    /// How many of `bytes` were used, and what they were the end of.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<(usize, Option<ws::Event>), Fault> {
        self.decoder.decode(bytes)
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// We close, and user code knows. False if we have done so before.
    pub(super) fn close(&mut self) -> bool {
        self.reported |= !self.closing;
        !std::mem::replace(&mut self.closing, true)
    }

    /// The peer's close frame is here: whether it has to be sent back, and whether user code has to be told.
    pub(super) fn closed_by_peer(&mut self) -> (bool, bool) {
        let respond = !std::mem::replace(&mut self.closing, true);
        let report = !std::mem::replace(&mut self.reported, true);
        (respond, report)
    }

    /// What user code hears when TCP ends without a close frame.
    pub(super) fn lost(&self) -> Option<Event> {
        (!self.reported).then(|| Event::Closed(i32::from(GOING_AWAY), String::new()))
    }

    /// A pong of this length was sent; `all_is_written` says whether the peer has taken it.
    pub(super) fn note_pong(&mut self, bytes: usize, all_is_written: bool) {
        self.unread_replies = match all_is_written {
            true => 0,
            false => self.unread_replies + bytes,
        };
    }

    pub(super) fn unread_replies(&self) -> usize {
        self.unread_replies
    }

    /// How long to wait from the last received byte, or from our ping.
    pub(super) fn patience(&self) -> Option<Duration> {
        let pings = self.pings.filter(|_| !self.closing)?;
        Some(if self.awaiting {
            pings.timeout
        } else {
            pings.interval
        })
    }

    /// That time has passed.
    pub(super) fn tick(&mut self) -> Tick {
        match self.pings {
            None => Tick::Nothing,
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
