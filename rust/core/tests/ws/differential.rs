//! The same bytes through tungstenite's own session.
//!
//! It agrees, but for the moment it sees bad UTF-8: we stop at the first
//! impossible byte, it goes on to the end of the fragment.

use crate::frames::*;
use httpkit_core::ws::{Event, close_payload};
use proptest::collection::vec;
use proptest::prelude::*;
use std::io::{Cursor, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

const LIMIT: usize = 300;

/// Reads from a script, forgets what is written.
struct Peer(Cursor<Vec<u8>>);

impl Read for Peer {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Peer {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn event(message: Message) -> Event {
    match message {
        Message::Text(t) => Event::Text(t.as_bytes().to_vec()),
        Message::Binary(b) => Event::Binary(b.to_vec()),
        Message::Ping(b) => Event::Ping(b.to_vec()),
        Message::Pong(b) => Event::Pong(b.to_vec()),
        Message::Close(None) => Event::Close {
            code: None,
            reason: String::new(),
            payload: Vec::new(),
        },
        Message::Close(Some(frame)) => Event::Close {
            code: Some(frame.code.into()),
            reason: frame.reason.to_string(),
            payload: close_payload(frame.code.into(), &frame.reason),
        },
        Message::Frame(_) => unreachable!("never read"),
    }
}

/// Events of tungstenite, and the close code for the error that ended them.
fn tungstenite(stream: Vec<u8>) -> (Vec<Event>, Option<u16>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(LIMIT))
        .max_frame_size(Some(LIMIT));
    let mut socket =
        WebSocket::from_raw_socket(Peer(Cursor::new(stream)), Role::Server, Some(config));
    let mut events = Vec::new();
    loop {
        match socket.read() {
            Ok(message) => events.push(event(message)),
            Err(Error::Utf8(_)) => return (events, Some(1007)),
            Err(Error::Capacity(_)) => return (events, Some(1009)),
            Err(Error::Protocol(
                tungstenite::error::ProtocolError::ResetWithoutClosingHandshake,
            ))
            | Err(Error::ConnectionClosed) => return (events, None),
            Err(Error::Protocol(_)) => return (events, Some(1002)),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Frames of which most are right and some break one rule.
fn frames() -> impl Strategy<Value = Vec<Frame>> {
    let opcode = prop_oneof![3 => Just(1), 2 => Just(2), 4 => Just(0), 1 => 9u8..11, 1 => 0u8..16];
    let payload = prop_oneof![
        8 => ".{0,20}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..60),
        1 => vec(Just(b'x'), 100..200),
    ];
    let reserved = prop_oneof![30 => Just(0u8), 1 => 1u8..8];
    let mask = prop::option::weighted(0.97, any::<[u8; 4]>());
    let any_frame = (opcode, payload, any::<bool>(), reserved, mask)
        .prop_map(|(opcode, payload, last, reserved, mask)| Frame {
            last: last || opcode > 7,
            reserved,
            opcode,
            mask,
            payload,
        })
        .prop_filter("close frames have cases of their own", |f| f.opcode != 8);
    let closing = prop_oneof![Just(frame(8, "")), ".{0,20}".prop_map(|r| close(1000, r))];
    (vec(any_frame, 0..10), prop::option::of(closing))
        .prop_map(|(frames, closing)| frames.into_iter().chain(closing).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn tungstenites_session_agrees(frames in frames()) {
        let stream = bytes(&frames);
        let (ours, fault) = decode(LIMIT as u64, [stream.as_slice()]);
        let (theirs, code) = tungstenite(stream);
        match fault.map(|f| f.code) {
            Some(1007) => {
                prop_assert!(code.is_some(), "{:?}", theirs);
                prop_assert_eq!(Some(ours.as_slice()), theirs.get(..ours.len()));
                let rest = &theirs[ours.len()..];
                prop_assert!(rest.iter().all(|e| matches!(e, Event::Ping(_) | Event::Pong(_))));
            }
            other => prop_assert_eq!((ours, other), (theirs, code)),
        }
    }
}
