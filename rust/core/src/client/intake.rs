//! The body of a response: decompressed, checked against its limits, and collected or handed out.

use super::call::Call;
use super::ceiling::{Collected, over_limit};
use super::decompress::{Coding, Inflater};
use super::error::{CallError, ErrorKind};
use std::sync::atomic::Ordering::Relaxed;

/// Granularity of the limit on decoded bytes.
const DECODED_STEP: u64 = 4096;
/// Output buffer of a decoder.
const INFLATE_BUFFER: usize = 16 * 1024;
/// Most bytes decoded before yielding: a small piece can expand a thousandfold, and other calls share the loop.
const DECODED_TURN: usize = 256 * 1024;

/// How far a response's body has come.
pub(super) struct Intake<'a> {
    call: &'a Call,
    inflater: Option<Inflater>,
    body: Collected<'a>,
    wire: u64,
    /// Bytes collected or handed out.
    emitted: u64,
    decoded: u64,
    /// Of a coded piece, what is decoded and what is not, kept for lack of window or until the next turn.
    kept: Option<(Vec<u8>, Vec<u8>)>,
    /// Bytes decoded since the task last yielded.
    turn: usize,
    /// A piece of the body was handed out, perhaps an empty one.
    handed_out: bool,
}

impl<'a> Intake<'a> {
    pub(super) fn new(call: &'a Call) -> Self {
        Self {
            call,
            inflater: None,
            body: Collected::new(call),
            wire: 0,
            emitted: 0,
            decoded: 0,
            kept: None,
            turn: 0,
            handed_out: false,
        }
    }

    pub(super) fn set_coding(&mut self, coding: Option<Coding>) {
        self.inflater = coding.map(Inflater::new);
    }

    pub(super) fn is_coded(&self) -> bool {
        self.inflater.is_some()
    }

    pub(super) fn begin_turn(&mut self) {
        self.turn = 0;
    }

    pub(super) fn has_used_turn(&self) -> bool {
        self.turn >= DECODED_TURN
    }

    /// Whether the caller's window is used up.
    pub(super) fn is_blocked(&self) -> bool {
        self.call.spec.streamed && self.call.control.credit.load(Relaxed) <= 0
    }

    pub(super) fn has_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Continues with what was kept.
    pub(super) fn resume(&mut self) -> Result<(), CallError> {
        match self.kept.take() {
            Some((decoded, coded)) => self.inflate(&decoded, &coded),
            None => Ok(()),
        }
    }

    /// What was collected, see [`Collected::take`].
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.body.take()
    }

    /// Fails early if a body of the announced `length` exceeds its limit. The decoded length of a coded one is not known
    /// yet.
    pub(super) fn check_announced(&self, length: Option<u64>) -> Result<(), CallError> {
        match length {
            Some(length) if self.inflater.is_none() => {
                self.within_limit(length)?;
                let spec = &self.call.spec;
                // A filter that aborts it before decides how it fails.
                let aborted = spec.max_wire.is_some_and(|most| length > most);
                if spec.streamed || aborted {
                    return Ok(());
                }
                self.body.announced(length)
            }
            _ => Ok(()),
        }
    }

    fn within_limit(&self, length: u64) -> Result<(), CallError> {
        match self.call.spec.max_body {
            Some(most) if length > most => Err(over_limit(most)),
            _ => Ok(()),
        }
    }

    pub(super) fn on_piece(&mut self, piece: &[u8]) -> Result<(), CallError> {
        self.wire += piece.len() as u64;
        if self.call.spec.max_wire.is_some_and(|most| self.wire > most) {
            let wire = self.wire;
            return Err(CallError::new(
                ErrorKind::Abort,
                format!("Rejected when reading body, length: {wire}"),
            ));
        }
        match self.inflater {
            Some(_) => self.inflate(&[], piece),
            None => self.emit(piece),
        }
    }

    /// Decodes until the window or this turn's share is used up; the rest is kept. `decoded` was kept before.
    fn inflate(&mut self, decoded: &[u8], mut coded: &[u8]) -> Result<(), CallError> {
        let Some(mut inflater) = self.inflater.take() else {
            return Ok(());
        };
        let mut output = [0; INFLATE_BUFFER];
        let mut result = match decoded {
            [] => Ok(()),
            _ => self.emit_decoded(decoded, &inflater),
        };
        while result.is_ok() {
            if self.has_used_turn() {
                self.kept = Some((Vec::new(), coded.to_vec()));
                break;
            }
            let step = match inflater.inflate(coded, &mut output) {
                Ok(step) => step,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            coded = &coded[step.consumed..];
            self.turn += step.produced;
            if step.produced > 0 && self.is_blocked() {
                self.kept = Some((output[..step.produced].to_vec(), coded.to_vec()));
                break;
            }
            result = self.emit_decoded(&output[..step.produced], &inflater);
            if step.produced < output.len() {
                // Not only with the next piece, which may never come.
                result = result.and_then(|()| inflater.check());
                break;
            }
        }
        self.inflater = Some(inflater);
        result
    }

    fn emit_decoded(&mut self, data: &[u8], inflater: &Inflater) -> Result<(), CallError> {
        self.decoded += data.len() as u64;
        if let Some(most) = self
            .call
            .spec
            .max_decoded
            .filter(|most| self.decoded > *most)
        {
            let length = self.decoded.min((most + 1).next_multiple_of(DECODED_STEP));
            return Err(CallError::new(
                ErrorKind::Abort,
                format!("Rejected when decompressing body, length: {length}"),
            ));
        }
        if !data.is_empty() {
            return self.emit(data);
        }
        if self.call.spec.streamed && !self.handed_out && inflater.header_read() {
            return self.hand_out(&[]);
        }
        Ok(())
    }

    fn emit(&mut self, data: &[u8]) -> Result<(), CallError> {
        self.emitted += data.len() as u64;
        self.within_limit(self.emitted)?;
        if self.call.spec.streamed {
            return self.hand_out(data);
        }
        self.body.add(data)
    }

    fn hand_out(&mut self, data: &[u8]) -> Result<(), CallError> {
        self.handed_out = true;
        let credit = &self.call.control.credit;
        let left = credit.load(Relaxed).saturating_sub(data.len() as i64);
        credit.store(left, Relaxed);
        match self.call.shared().sink.on_body(self.call.id, data) {
            true => Ok(()),
            false => Err(CallError::refused()),
        }
    }

    pub(super) fn end_body(&self) -> Result<(), CallError> {
        self.inflater.as_ref().map_or(Ok(()), Inflater::finish)
    }
}
