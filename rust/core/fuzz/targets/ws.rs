//! A client's frames: no panic, memory within what was received, and the same
//! outcome however the bytes are cut.

use httpkit_core::ws::{Decoder, Event, Fault};

const MAX: u64 = 1000;

// The first byte is the size of the reads.
pub fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(whole, decode(stream, usize::from(size).max(1)));
    for event in whole.0 {
        check(event);
    }
}

fn decode(stream: &[u8], size: usize) -> (Vec<Event>, Option<Fault>) {
    let mut decoder = Decoder::new(MAX);
    let mut events = Vec::new();
    for mut rest in stream.chunks(size) {
        loop {
            match decoder.decode(rest) {
                Ok((used, None)) => {
                    assert_eq!(used, rest.len());
                    break;
                }
                Ok((used, Some(event))) => {
                    events.push(event);
                    rest = &rest[used..];
                }
                Err(fault) => return (events, Some(fault)),
            }
        }
    }
    (events, None)
}

fn check(event: Event) {
    match event {
        Event::Text(bytes) => {
            assert!(bytes.len() as u64 <= MAX);
            assert!(std::str::from_utf8(&bytes).is_ok());
        }
        Event::Binary(bytes) => assert!(bytes.len() as u64 <= MAX),
        Event::Ping(bytes) | Event::Pong(bytes) => assert!(bytes.len() <= 125),
        Event::Close {
            payload, reason, ..
        } => {
            assert!(payload.len() <= 125);
            assert!(payload.ends_with(reason.as_bytes()));
        }
    }
}
