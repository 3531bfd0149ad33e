//! Content codings: gzip (all members) and deflate (zlib or raw).
//!
//! The caller provides the output buffer, so that a decompression bomb expands only as far as its reader has room.

use super::ceiling::Ceilings;
use super::error::{CallError, ErrorKind};
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// A content coding that is undone here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `gzip`, `x-gzip`
    Gzip,
    /// `deflate`, `x-deflate`: zlib or raw, told apart by the first two bytes
    Deflate,
}

impl Coding {
    /// The coding of a Content-Encoding value, in any letter case; `None` for lists and unknown ones, which are left
    /// encoded.
    pub fn of(value: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| value.eq_ignore_ascii_case(name);
        if is(b"gzip") || is(b"x-gzip") {
            Some(Self::Gzip)
        } else if is(b"deflate") || is(b"x-deflate") {
            Some(Self::Deflate)
        } else {
            None
        }
    }
}

/// The result of one [`Inflater::inflate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Bytes of input consumed.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
}

impl Step {
    fn after(self, produced: usize) -> Self {
        Self {
            produced: self.produced + produced,
            ..self
        }
    }
}

enum Stage {
    GzipHeader(GzipHeader),
    /// Reading the first two bytes of a deflate body.
    DeflateHeader(Vec<u8>),
    /// Bytes of the header that belong to the raw deflate stream.
    Replay(Vec<u8>, usize),
    Data,
    /// Reading a gzip trailer.
    GzipTrailer(Vec<u8>),
    /// Further input is ignored.
    Done,
}

/// Undoes one coding, piece by piece.
pub struct Inflater {
    coding: Coding,
    stage: Stage,
    data: Decompress,
    crc: Crc,
    members: u32,
    started: bool,
    /// What is wrong behind bytes that have been decoded.
    fault: Option<CallError>,
}

impl Inflater {
    /// An inflater at the start of a body.
    pub fn new(coding: Coding) -> Self {
        let stage = match coding {
            Coding::Gzip => Stage::GzipHeader(GzipHeader::default()),
            Coding::Deflate => Stage::DeflateHeader(Vec::new()),
        };
        Self {
            coding,
            stage,
            data: Decompress::new(false),
            crc: Crc::new(),
            members: 0,
            started: false,
            fault: None,
        }
    }

    /// Whether the coding's own header was read.
    pub fn header_read(&self) -> bool {
        match self.stage {
            Stage::GzipHeader(_) => self.members > 0,
            Stage::DeflateHeader(_) => false,
            _ => true,
        }
    }

    /// Decodes until the input is consumed or the output is full. A step that neither consumes nor produces means that
    /// `input` is empty. What comes before a fault is decoded first: see [`Self::check`].
    pub fn inflate(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CallError> {
        self.check()?;
        self.started |= !input.is_empty();
        let mut step = Step {
            consumed: 0,
            produced: 0,
        };
        loop {
            let more = match self.turn(&input[step.consumed..], &mut output[step.produced..]) {
                Ok(more) => more,
                Err(fault) if step.consumed == 0 && step.produced == 0 => return Err(fault),
                Err(fault) => {
                    self.fault = Some(fault);
                    let consumed = input.len();
                    return Ok(Step { consumed, ..step });
                }
            };
            step.consumed += more.consumed;
            step.produced += more.produced;
            let full = step.produced == output.len();
            if full || (more.consumed == 0 && more.produced == 0) {
                return Ok(step);
            }
        }
    }

    /// `Err` if what follows the decoded bytes is faulty.
    pub fn check(&self) -> Result<(), CallError> {
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// The body ended: `Err` if the coding did not. An empty body is fine.
    pub fn finish(&self) -> Result<(), CallError> {
        self.check()?;
        let whole = match &self.stage {
            Stage::Done => true,
            Stage::GzipHeader(_) => self.members > 0,
            _ => false,
        };
        if whole || !self.started {
            return Ok(());
        }
        Err(CallError::new(
            ErrorKind::Eof,
            "Unexpected end of ZLIB input stream",
        ))
    }

    fn turn(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CallError> {
        match &mut self.stage {
            Stage::Done => Ok(eaten(input.len())),
            Stage::GzipHeader(_) => self.gzip_header(input),
            Stage::DeflateHeader(_) => Ok(self.deflate_header(input)),
            Stage::GzipTrailer(_) => self.gzip_trailer(input),
            Stage::Replay(..) => self.replay(input, output),
            Stage::Data => self.data(input, output),
        }
    }

    fn gzip_header(&mut self, input: &[u8]) -> Result<Step, CallError> {
        let Stage::GzipHeader(header) = &mut self.stage else {
            return Ok(eaten(0));
        };
        match header.read(input) {
            Ok((length, whole)) => {
                if whole {
                    self.data.reset(false);
                    self.crc.reset();
                    self.stage = Stage::Data;
                }
                Ok(eaten(length))
            }
            // Bytes after a member that are not another member are ignored, as by GZIPInputStream.
            Err(_) if self.members > 0 => {
                self.stage = Stage::Done;
                Ok(eaten(input.len()))
            }
            Err(error) => Err(error),
        }
    }

    fn deflate_header(&mut self, input: &[u8]) -> Step {
        let Stage::DeflateHeader(header) = &mut self.stage else {
            return eaten(0);
        };
        let wanted = (2 - header.len()).min(input.len());
        header.extend_from_slice(&input[..wanted]);
        if let [first, second] = header[..] {
            let header = std::mem::take(header);
            let zlib = first & 15 == 8
                && first >> 4 <= 7
                && u16::from_be_bytes([first, second]).is_multiple_of(31);
            self.data = Decompress::new(zlib);
            self.stage = Stage::Replay(header, 0);
        }
        eaten(wanted)
    }

    /// The bytes that told raw from zlib belong to the data: they are decoded first.
    fn replay(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CallError> {
        let Stage::Replay(header, at) = &mut self.stage else {
            return Ok(eaten(0));
        };
        let (header, at) = (std::mem::take(header), *at);
        self.stage = Stage::Data;
        let first = self.data(&header[at..], output)?;
        if !matches!(self.stage, Stage::Data) {
            return Ok(eaten(0).after(first.produced));
        }
        if at + first.consumed < header.len() {
            self.stage = Stage::Replay(header, at + first.consumed);
            return Ok(eaten(0).after(first.produced));
        }
        let second = self.data(input, &mut output[first.produced..])?;
        Ok(second.after(first.produced))
    }

    fn data(&mut self, input: &[u8], output: &mut [u8]) -> Result<Step, CallError> {
        let (before_in, before_out) = (self.data.total_in(), self.data.total_out());
        let status = self
            .data
            .decompress(input, output, FlushDecompress::None)
            .map_err(|_| zip("Corrupt deflate data"))?;
        let step = Step {
            consumed: (self.data.total_in() - before_in) as usize,
            produced: (self.data.total_out() - before_out) as usize,
        };
        if self.coding == Coding::Gzip {
            self.crc.update(&output[..step.produced]);
        }
        if status == Status::StreamEnd {
            self.stage = match self.coding {
                Coding::Gzip => Stage::GzipTrailer(Vec::with_capacity(8)),
                Coding::Deflate => Stage::Done,
            };
        }
        Ok(step)
    }

    fn gzip_trailer(&mut self, input: &[u8]) -> Result<Step, CallError> {
        let Stage::GzipTrailer(trailer) = &mut self.stage else {
            return Ok(eaten(0));
        };
        let wanted = (8 - trailer.len()).min(input.len());
        trailer.extend_from_slice(&input[..wanted]);
        if let [a, b, c, d, e, f, g, h] = trailer[..] {
            let sum = u32::from_le_bytes([a, b, c, d]);
            let amount = u32::from_le_bytes([e, f, g, h]);
            if sum != self.crc.sum() || amount != self.crc.amount() {
                return Err(zip("Corrupt GZIP trailer"));
            }
            self.members += 1;
            self.stage = Stage::GzipHeader(GzipHeader::default());
        }
        Ok(eaten(wanted))
    }
}

/// A gzip header being received (RFC 1952, 2.3). Each byte is checked once: a name may be long, and arrive in pieces of
/// one byte.
#[derive(Default)]
struct GzipHeader {
    flags: u8,
    part: Part,
    /// Of what comes before the header's own sum.
    sum: Crc,
}

/// The part of a header that the next byte belongs to.
#[derive(Clone, Copy)]
enum Part {
    /// With the number of bytes read.
    Fixed(u8),
    ExtraLow,
    ExtraHigh(u8),
    /// With the number of bytes to come.
    Extra(u16),
    Name,
    Comment,
    SumLow,
    SumHigh(u8),
    End,
}

impl Default for Part {
    fn default() -> Self {
        Self::Fixed(0)
    }
}

impl GzipHeader {
    /// How many bytes of `input` belong to the header, and whether it is whole.
    fn read(&mut self, input: &[u8]) -> Result<(usize, bool), CallError> {
        for (at, byte) in input.iter().enumerate() {
            if !matches!(self.part, Part::SumLow | Part::SumHigh(_)) {
                self.sum.update(&[*byte]);
            }
            self.part = self.behind(*byte)?;
            if matches!(self.part, Part::End) {
                return Ok((at + 1, true));
            }
        }
        Ok((input.len(), false))
    }

    fn behind(&mut self, byte: u8) -> Result<Part, CallError> {
        Ok(match self.part {
            Part::Fixed(0) if byte != 0x1f => return Err(zip("Not in GZIP format")),
            Part::Fixed(1) if byte != 0x8b => return Err(zip("Not in GZIP format")),
            Part::Fixed(2) if byte != 8 => return Err(zip("Unsupported compression method")),
            Part::Fixed(9) => self.optional(0),
            Part::Fixed(at) => {
                if at == 3 {
                    self.flags = byte;
                }
                Part::Fixed(at + 1)
            }
            Part::ExtraLow => Part::ExtraHigh(byte),
            Part::ExtraHigh(low) => match u16::from_le_bytes([low, byte]) {
                0 => self.optional(1),
                length => Part::Extra(length),
            },
            Part::Extra(1) => self.optional(1),
            Part::Extra(left) => Part::Extra(left - 1),
            Part::Name if byte == 0 => self.optional(2),
            Part::Comment if byte == 0 => self.optional(3),
            Part::SumLow => Part::SumHigh(byte),
            Part::SumHigh(low) if u16::from_le_bytes([low, byte]) != self.sum.sum() as u16 => {
                return Err(zip("Corrupt GZIP header"));
            }
            Part::SumHigh(_) | Part::End => Part::End,
            more @ (Part::Name | Part::Comment) => more,
        })
    }

    /// The first optional part that is present, after the first `before` ones.
    fn optional(&self, before: usize) -> Part {
        let parts = [
            (4, Part::ExtraLow),
            (8, Part::Name),
            (16, Part::Comment),
            (2, Part::SumLow),
        ];
        let mut there = parts[before..]
            .iter()
            .filter(|(flag, _)| self.flags & flag != 0);
        there.next().map_or(Part::End, |(_, part)| *part)
    }
}

fn eaten(consumed: usize) -> Step {
    Step {
        consumed,
        produced: 0,
    }
}

fn zip(message: &'static str) -> CallError {
    CallError::new(ErrorKind::Zip, message)
}

/// Undoes a coding of a whole body.
pub fn decode_whole(coding: Coding, data: &[u8], most: Ceilings) -> Result<Vec<u8>, CallError> {
    const STEP: usize = 4096;
    let mut inflater = Inflater::new(coding);
    let (mut rest, mut out) = (data, Vec::<u8>::new());
    let mut buffer = [0; STEP];
    loop {
        let step = inflater.inflate(rest, &mut buffer)?;
        rest = &rest[step.consumed..];
        out.try_reserve(step.produced)
            .map_err(|_| CallError::too_large())?;
        out.extend_from_slice(&buffer[..step.produced]);
        most.check(out.len() as u64)?;
        if step.produced < STEP {
            inflater.finish()?;
            return Ok(out);
        }
    }
}
