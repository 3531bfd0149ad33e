//! However a stream is cut into fragments and reads, it says the same.

use crate::frames::*;
use httpkit_core::ws::Event;
use proptest::collection::vec;
use proptest::prelude::*;

/// Some of everything, the boundaries of the length forms included.
fn everything() -> Vec<u8> {
    bytes(&[
        frame(1, "h\u{e9}\u{2603}\u{1f600}"),
        frame(9, "ping"),
        part(1, b"\xe2"),
        frame(10, ""),
        part(0, b"\x98"),
        frame(0, b"\x83!"),
        frame(2, [0xff; 126]),
        frame(1, ""),
        part(2, [7; 300]),
        frame(9, [1; 125]),
        frame(0, ""),
        close(1000, "b\u{ef}e"),
    ])
}

#[test]
fn split_anywhere_gives_the_same_events() {
    let stream = everything();
    let whole = decode(MAX, [stream.as_slice()]);
    assert_eq!((whole.0.len(), &whole.1), (9, &None));
    for cut in 0..=stream.len() {
        let (a, b) = stream.split_at(cut);
        assert_eq!(decode(MAX, [a, b]), whole, "cut at {cut}");
    }
    assert_eq!(decode(MAX, stream.chunks(1)), whole, "byte by byte");
}

#[test]
fn split_anywhere_gives_the_same_fault() {
    for last in [
        frame(3, "x"),
        frame(1, b"ab\xc0\xafcd"),
        close(999, ""),
        frame(2, [0; 600]),
    ] {
        let stream = bytes(&[frame(1, "ok"), part(1, "a"), frame(0, "b"), last]);
        let whole = decode(500, [stream.as_slice()]);
        assert!(whole.1.is_some());
        for cut in 0..=stream.len() {
            let (a, b) = stream.split_at(cut);
            assert_eq!(decode(500, [a, b]), whole, "cut at {cut}");
        }
        assert_eq!(decode(500, stream.chunks(1)), whole, "byte by byte");
    }
}

#[test]
fn a_big_message_survives_every_read_size() {
    let payload: Vec<u8> = (0..300_000_u32).map(|i| (i * 7 + i / 256) as u8).collect();
    let stream = frame(2, &payload).bytes();
    for size in [1, 7, 1000, 4096, 65536, stream.len()] {
        let got = decode(MAX, stream.chunks(size));
        assert_eq!(got, (vec![binary(&payload)], None), "reads of {size} bytes");
    }
}

#[derive(Debug, Clone)]
enum Said {
    Text(String),
    Binary(Vec<u8>),
}

/// A message cut into fragments, each with a control frame before it or not.
type Spoken = (Said, Vec<prop::sample::Index>, Vec<Option<(bool, Vec<u8>)>>);

fn spoken() -> impl Strategy<Value = Spoken> {
    let said = prop_oneof![
        ".{0,80}".prop_map(Said::Text),
        vec(any::<u8>(), 0..400).prop_map(Said::Binary)
    ];
    let control = prop::option::weighted(0.4, (any::<bool>(), vec(any::<u8>(), 0..=125)));
    (
        said,
        vec(any::<prop::sample::Index>(), 0..5),
        vec(control, 6),
    )
}

/// The frames of a message, and the events they stand for.
fn speak((said, cuts, controls): Spoken, mask: [u8; 4]) -> (Vec<Frame>, Vec<Event>) {
    let (opcode, payload, event) = match said {
        Said::Text(s) => (1, s.clone().into_bytes(), text(&s)),
        Said::Binary(b) => (2, b.clone(), binary(b)),
    };
    let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(payload.len() + 1)).collect();
    cuts.extend([0, payload.len()]);
    cuts.sort_unstable();
    let (mut frames, mut events) = (Vec::new(), Vec::new());
    for (i, (cut, control)) in cuts.windows(2).zip(controls).enumerate() {
        if let Some((ping, p)) = control {
            frames.push(frame(if ping { 9 } else { 10 }, &p));
            events.push(if ping { Event::Ping(p) } else { Event::Pong(p) });
        }
        let last = i + 2 == cuts.len();
        let opcode = if i == 0 { opcode } else { 0 };
        let frame = frame(opcode, &payload[cut[0]..cut[1]]);
        frames.push(Frame {
            last,
            mask: Some(mask),
            ..frame
        });
    }
    events.push(event);
    (frames, events)
}

fn pieces(stream: &[u8], cuts: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|i| i.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    cuts.windows(2)
        .map(|w| stream[w[0]..w[1]].to_vec())
        .collect()
}

proptest! {
    #[test]
    fn what_is_said_is_heard(
        all in vec((spoken(), any::<[u8; 4]>()), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let (frames, events): (Vec<_>, Vec<_>) =
            all.into_iter().map(|(said, mask)| speak(said, mask)).unzip();
        let stream = bytes(&frames.concat());
        let pieces = pieces(&stream, &cuts);
        let got = decode(MAX, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(got, (events.concat(), None));
    }

    #[test]
    fn noise_never_panics_and_reads_do_not_matter(
        noise in vec(any::<u8>(), 0..200),
        cuts in vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let pieces = pieces(&noise, &cuts);
        let got = decode(100, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(got, decode(100, [noise.as_slice()]));
    }
}
