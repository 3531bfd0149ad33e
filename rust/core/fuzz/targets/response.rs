//! Responses: no panic, and the same events however the bytes are cut.

use httpkit_core::client::{CallError, Decoder, Event};

#[derive(Debug, Default, PartialEq)]
struct Outcome {
    status: u16,
    headers: Vec<u8>,
    body: Vec<u8>,
    done: bool,
    reusable: bool,
    error: Option<CallError>,
}

// The first byte is the size of the reads; its lowest bit says HEAD.
pub fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let head = size & 1 == 1;
    let whole = decode(head, stream, stream.len().max(1));
    assert_eq!(whole, decode(head, stream, usize::from(size).max(1)));
    assert!(whole.body.len() <= stream.len());
}

fn decode(head: bool, stream: &[u8], size: usize) -> Outcome {
    let mut decoder = Decoder::new(head);
    let mut outcome = Outcome::default();
    'pieces: for mut piece in stream.chunks(size) {
        loop {
            match decoder.next(&mut piece) {
                Ok(Event::More) => break,
                Ok(Event::Body(bytes)) => outcome.body.extend_from_slice(bytes),
                Ok(Event::End) => {
                    outcome.done = true;
                    break 'pieces;
                }
                Ok(_) => {}
                Err(error) => {
                    outcome.error = Some(error);
                    break 'pieces;
                }
            }
        }
    }
    outcome.status = decoder.status();
    outcome.reusable = decoder.reusable();
    decoder.headers().encode(&mut outcome.headers);
    outcome
}
