//! Limits on response bytes held in memory: the caller's for one response, or else the embedder's room for all
//! responses of a client together.

use super::call::Call;
use super::error::{CallError, ErrorKind};
use super::stats::Stats;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest array of the embedder.
const MAX_BUFFERED: usize = 0x7fff_fff7;
/// The embedder is asked for its room again after this many bytes.
const STEP: u64 = 256 * 1024;

/// The embedder's room, as of the last time it was asked.
#[derive(Default)]
pub(super) struct Room {
    /// Bytes that fit without asking.
    granted: AtomicU64,
}

impl Room {
    fn take(&self, call: &Call, more: u64) -> Result<(), CallError> {
        match self.granted.load(Ordering::Relaxed).checked_sub(more) {
            Some(left) => self.granted.store(left, Ordering::Relaxed),
            None => {
                let left = ask(call, more)?;
                self.granted.store(left.min(STEP), Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Asks for the room that `more` bytes would leave.
fn ask(call: &Call, more: u64) -> Result<u64, CallError> {
    let shared = call.shared();
    let room = shared.sink.room();
    let together = shared.stats.buffered.load(Ordering::Relaxed) + more;
    room.checked_sub(together).ok_or_else(|| over_room(room))
}

/// A body to be handed out whole.
pub(super) struct Collected<'a> {
    call: &'a Call,
    bytes: Vec<u8>,
}

impl<'a> Collected<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        Self {
            call,
            bytes: Vec::new(),
        }
    }

    /// This many bytes were announced: too many are an error now, not once they have arrived.
    pub(super) fn announced(&self, length: u64) -> Result<(), CallError> {
        if self.call.spec.max_body.is_none() && length > STEP {
            ask(self.call, length)?;
        }
        Ok(())
    }

    pub(super) fn add(&mut self, data: &[u8]) -> Result<(), CallError> {
        let more = data.len() as u64;
        if self.call.spec.max_body.is_none() {
            self.call.shared().room.take(self.call, more)?;
        }
        // Without the reservation, running out of memory would end the process.
        if self.bytes.len() + data.len() > MAX_BUFFERED
            || self.bytes.try_reserve(data.len()).is_err()
        {
            return Err(CallError::too_large());
        }
        Stats::add(&self.call.shared().stats.buffered, more);
        self.bytes.extend_from_slice(data);
        Ok(())
    }

    /// The body; the caller subtracts it from [`Stats::buffered`].
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

impl Drop for Collected<'_> {
    fn drop(&mut self) {
        let left = self.bytes.len() as u64;
        Stats::sub(&self.call.shared().stats.buffered, left);
    }
}

/// Limits for [`decode_whole`](super::decode_whole).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ceilings {
    /// A filter's limit: more bytes are refused as [`ErrorKind::Abort`].
    pub filter: Option<u64>,
    /// The caller's limit: more bytes are [`ErrorKind::TooLarge`].
    pub limit: Option<u64>,
    /// The embedder's room; likewise.
    pub room: Option<u64>,
}

impl Ceilings {
    pub(super) fn check(&self, length: u64) -> Result<(), CallError> {
        let over = |most: Option<u64>| most.filter(|most| length > *most);
        if over(self.filter).is_some() {
            return Err(CallError::new(
                ErrorKind::Abort,
                format!("Rejected when decompressing body, length: {length}"),
            ));
        }
        if let Some(most) = over(self.limit) {
            return Err(over_limit(most));
        }
        over(self.room).map_or(Ok(()), |room| Err(over_room(room)))
    }
}

/// A body is longer than its caller allows.
pub(super) fn over_limit(most: u64) -> CallError {
    CallError::new(
        ErrorKind::TooLarge,
        format!("Response body is longer than max-response-bytes: {most}"),
    )
}

fn over_room(room: u64) -> CallError {
    CallError::new(
        ErrorKind::TooLarge,
        format!(
            "Response body does not fit: there is room for {room} bytes of responses in the heap \
             (max-response-bytes allows more; a stream needs no room)"
        ),
    )
}
