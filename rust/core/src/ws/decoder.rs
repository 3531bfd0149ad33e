//! From bytes to events: one [`Decoder`] per WebSocket.
//!
//! Payload is unmasked into the message as it arrives. So memory grows with bytes received, never with an announced
//! length, and the caller never has to keep input for later. Between messages a decoder owns no heap memory.

use super::frame::{Head, HeadParser, Mask, Opcode};
use super::{Fault, close};
use std::task::Poll;

/// An event from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message, checked to be UTF-8.
    Text(Vec<u8>),
    /// A whole binary message.
    Binary(Vec<u8>),
    /// A ping; the peer wants a pong with this payload.
    Ping(Vec<u8>),
    /// A pong, solicited or not.
    Pong(Vec<u8>),
    /// The peer closes. What it sends after this is ignored (RFC 6455 5.5.1).
    Close {
        /// `None` for an empty close frame, which users see as 1005.
        code: Option<u16>,
        /// Empty when none was given.
        reason: String,
        /// The payload as received, to be echoed.
        payload: Vec<u8>,
    },
}

/// Decoder of one client's frames (RFC 6455 5, 6.2, 8.1).
#[derive(Debug)]
pub struct Decoder {
    max_message: u64,
    state: State,
    /// The message so far, from its fragments. Boxed: between messages, which is nearly always, it costs one word.
    fragments: Option<Box<Message>>,
}

#[derive(Debug)]
enum State {
    Head(HeadParser),
    Data {
        left: u64,
        mask: Mask,
        last: bool,
        message: Box<Message>,
    },
    Control {
        left: usize,
        mask: Mask,
        opcode: Opcode,
        payload: Vec<u8>,
    },
    /// After a close or a fault.
    Closed,
}

/// The outcome of one decoding step. Pending: all input is used. Ready: continue, with an event if one was completed.
type Progress = Poll<Option<Event>>;

impl Decoder {
    /// Bytes of memory that hold a message of which a part has arrived.
    pub fn held(&self) -> usize {
        let fragments = self.fragments.as_ref();
        let current = match &self.state {
            State::Data { message, .. } => message.bytes.capacity(),
            State::Control { payload, .. } => payload.capacity(),
            State::Head(_) | State::Closed => 0,
        };
        fragments.map_or(0, |message| message.bytes.capacity()) + current
    }

    /// A decoder for the bytes after the handshake.
    ///
    /// A message of more than `max_message` bytes is a fault (1009), detected at the header that announces too much.
    /// Control frames do not count.
    pub fn new(max_message: u64) -> Self {
        Decoder {
            max_message,
            state: State::Head(HeadParser::default()),
            fragments: None,
        }
    }

    /// Decodes up to one event, and returns how much of `input` was used with it.
    ///
    /// Without an event all of `input` is used. With one, call again with the rest. After a close or a fault all input
    /// is discarded, without events.
    ///
    /// # Errors
    ///
    /// The first rule that the peer broke. Invalid UTF-8 is reported at the
    /// first byte that cannot be right, not at the end of its message.
    pub fn decode(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Fault> {
        let decoded = self.advance(input);
        if matches!(decoded, Err(_) | Ok((_, Some(Event::Close { .. })))) {
            self.state = State::Closed;
            self.fragments = None;
        }
        decoded
    }

    fn advance(&mut self, input: &[u8]) -> Result<(usize, Option<Event>), Fault> {
        let mut rest = input;
        loop {
            match self.step(&mut rest)? {
                Poll::Pending => return Ok((input.len(), None)),
                Poll::Ready(None) => {}
                Poll::Ready(event) => return Ok((input.len() - rest.len(), event)),
            }
        }
    }

    fn step(&mut self, rest: &mut &[u8]) -> Result<Progress, Fault> {
        match &mut self.state {
            State::Closed => Ok(Poll::Pending),
            State::Head(parser) => {
                let Some((head, size)) = parser.parse(rest)? else {
                    return Ok(Poll::Pending);
                };
                *rest = &rest[size..];
                self.begin(head, rest).map(Poll::Ready)
            }
            State::Data {
                left,
                mask,
                last,
                message,
            } => {
                let masked = take(rest, *left);
                *left -= masked.len() as u64;
                message.push(masked, mask, last.then_some(*left))?;
                if *left > 0 {
                    Ok(Poll::Pending)
                } else {
                    self.end_data().map(Poll::Ready)
                }
            }
            State::Control {
                left,
                mask,
                payload,
                ..
            } => {
                let masked = take(rest, *left as u64);
                *left -= masked.len();
                mask.append(payload, masked);
                if *left > 0 {
                    Ok(Poll::Pending)
                } else {
                    self.end_control().map(Poll::Ready)
                }
            }
        }
    }

    /// A header is complete: finds the message of its frame, and checks that it fits.
    fn begin(&mut self, head: Head, rest: &mut &[u8]) -> Result<Option<Event>, Fault> {
        let Head {
            opcode,
            last,
            mut mask,
            len,
        } = head;
        if opcode.is_control() {
            // At most 125 bytes, see `Head::checked`.
            let left = len as usize;
            self.state = State::Control {
                left,
                mask,
                opcode,
                payload: Vec::new(),
            };
            return Ok(None);
        }
        let fragments = self.resume(opcode, len)?;
        // The common case, a small message that has arrived whole, needs no state.
        if fragments.is_none() && last && len <= rest.len() as u64 {
            let mut message = Message::new(opcode);
            message.push(take(rest, len), &mut mask, Some(0))?;
            return message.finish().map(Some);
        }
        let message = fragments.unwrap_or_else(|| Box::new(Message::new(opcode)));
        self.state = State::Data {
            left: len,
            mask,
            last,
            message,
        };
        Ok(None)
    }

    /// The message that a data frame continues, unless it begins one (RFC 6455 5.4).
    fn resume(&mut self, opcode: Opcode, len: u64) -> Result<Option<Box<Message>>, Fault> {
        let fragments = self.fragments.take();
        match (&fragments, opcode) {
            (None, Opcode::Continuation) => {
                return Err(Fault::protocol("continuation without a message"));
            }
            (Some(_), Opcode::Text | Opcode::Binary) => {
                return Err(Fault::protocol(format!("{opcode:?} inside a message")));
            }
            _ => {}
        }
        let size = fragments
            .as_ref()
            .map_or(0, |m| m.bytes.len() as u64)
            .saturating_add(len);
        if size > self.max_message {
            return Err(Fault::too_big(size, self.max_message));
        }
        Ok(fragments)
    }

    /// The payload of a data frame is complete: the message ends, or waits for its next fragment.
    fn end_data(&mut self) -> Result<Option<Event>, Fault> {
        match self.next_head() {
            State::Data {
                last: true,
                message,
                ..
            } => message.finish().map(Some),
            State::Data { message, .. } => {
                self.fragments = Some(message);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn end_control(&mut self) -> Result<Option<Event>, Fault> {
        match self.next_head() {
            State::Control {
                opcode: Opcode::Ping,
                payload,
                ..
            } => Ok(Some(Event::Ping(payload))),
            State::Control {
                opcode: Opcode::Pong,
                payload,
                ..
            } => Ok(Some(Event::Pong(payload))),
            State::Control { payload, .. } => close::parse(payload).map(Some),
            _ => Ok(None),
        }
    }

    /// The frame is over: returns its state, and waits for the next header.
    fn next_head(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Head(HeadParser::default()))
    }
}

/// Cuts the first `n` bytes off `rest`, or all of them if there are fewer.
fn take<'a>(rest: &mut &'a [u8], n: u64) -> &'a [u8] {
    let n = usize::try_from(n).map_or(rest.len(), |n| n.min(rest.len()));
    let (taken, left) = rest.split_at(n);
    *rest = left;
    taken
}

/// A text or binary message being received.
#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    text: bool,
    /// How many of `bytes` are whole, valid characters; used for text only. Each byte is checked once, however small
    /// the pieces.
    checked: usize,
}

impl Message {
    fn new(opcode: Opcode) -> Self {
        Message {
            bytes: Vec::new(),
            text: opcode == Opcode::Text,
            checked: 0,
        }
    }

    /// Adds a piece. `left` is how much of the message is still to come after it, if known.
    fn push(&mut self, masked: &[u8], mask: &mut Mask, left: Option<u64>) -> Result<(), Fault> {
        self.reserve(masked.len(), left);
        mask.append(&mut self.bytes, masked);
        if self.text { self.check() } else { Ok(()) }
    }

    /// Reserves `n` bytes: at least doubles, but not beyond a known end, so that a big frame ends in a vector of its
    /// size.
    fn reserve(&mut self, n: usize, left: Option<u64>) {
        let len = self.bytes.len();
        if self.bytes.capacity() - len >= n {
            return;
        }
        match left.map(usize::try_from) {
            Some(Ok(left)) => self.bytes.reserve_exact(n + left.min(len)),
            _ => self.bytes.reserve(n),
        }
    }

    fn check(&mut self) -> Result<(), Fault> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(text) => self.checked += text.len(),
            // An incomplete character that is valid so far.
            Err(e) if e.error_len().is_none() => self.checked += e.valid_up_to(),
            Err(_) => return Err(Fault::not_utf8("text message")),
        }
        Ok(())
    }

    fn finish(self) -> Result<Event, Fault> {
        if !self.text {
            return Ok(Event::Binary(self.bytes));
        }
        if self.checked < self.bytes.len() {
            return Err(Fault::not_utf8("end of text message"));
        }
        Ok(Event::Text(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Start of a frame that announces 4 MiB.
    const ANNOUNCED: [u8; 14] = [0x82, 0xff, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0];

    #[test]
    fn a_waiting_decoder_is_small_and_owns_nothing() {
        assert!(size_of::<Decoder>() <= 64, "{} bytes", size_of::<Decoder>());
        let mut decoder = Decoder::new(1000);
        for sent in [
            &b"\x81\x81\0\0\0\0x"[..],
            b"\x02\x80\0\0\0\0\x80\x80\0\0\0\0",
            b"\x89\x80\0\0\0\0",
        ] {
            let (used, event) = decoder.decode(sent).unwrap();
            assert_eq!(used, sent.len());
            assert!(event.is_some());
            assert!(decoder.fragments.is_none());
            assert!(matches!(decoder.state, State::Head(_)));
        }
    }

    #[test]
    fn memory_follows_what_arrives_not_what_is_announced() {
        let mut decoder = Decoder::new(4 << 20);
        decoder.decode(&ANNOUNCED).unwrap();
        assert_eq!(decoder.held(), 0);
        for received in (10..=1000).step_by(10) {
            decoder.decode(&[7; 10]).unwrap();
            let held = decoder.held();
            assert!(
                held <= 2 * received,
                "{held} bytes held for {received} received"
            );
        }
    }

    #[test]
    fn a_big_frame_ends_in_a_vector_of_its_size() {
        let mut decoder = Decoder::new(4 << 20);
        decoder.decode(&ANNOUNCED).unwrap();
        for _ in 0..63 {
            assert_eq!(decoder.decode(&[7; 65536]).unwrap(), (65536, None));
        }
        let (_, event) = decoder.decode(&[7; 65536]).unwrap();
        let Some(Event::Binary(message)) = event else {
            panic!("{event:?}")
        };
        assert_eq!((message.len(), message.capacity()), (4 << 20, 4 << 20));
    }

    #[test]
    fn many_small_fragments_are_not_copied_each_time() {
        let mut decoder = Decoder::new(4 << 20);
        decoder.decode(b"\x02\x81\0\0\0\0x").unwrap();
        let (mut moves, mut held) = (0, decoder.held());
        for _ in 0..100_000 {
            decoder.decode(b"\x00\x81\0\0\0\0x").unwrap();
            moves += usize::from(decoder.held() != held);
            held = decoder.held();
        }
        assert!(moves < 30, "{moves} reallocations");
        assert!(held <= 200_002, "{held} bytes held for 100,001");
    }

    #[test]
    fn a_fault_lets_go_of_the_message() {
        let mut decoder = Decoder::new(1000);
        decoder.decode(b"\x02\x81\0\0\0\0x").unwrap();
        assert!(decoder.held() > 0);
        decoder.decode(b"\x83\x80\0\0\0\0").unwrap_err();
        assert_eq!(decoder.held(), 0);
    }
}
