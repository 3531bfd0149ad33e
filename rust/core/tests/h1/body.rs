//! Chunked bodies and trailers.

use httpkit_core::h1::{ChunkedDecoder, Limits, Violation};
use proptest::prelude::*;

const HEAD_LEN: usize = 100;

type Decoded = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, usize, bool);

fn decode_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Decoded, Violation> {
    let mut decoder = ChunkedDecoder::new(limits, HEAD_LEN);
    let (mut out, mut used, mut done) = (Vec::new(), 0, false);
    for piece in pieces {
        let (n, now_done) = decoder.decode(piece, &mut out)?;
        assert!(
            n == piece.len() || now_done,
            "all input is used before the end"
        );
        (used, done) = (used + n, now_done);
        if done {
            break;
        }
    }
    let (bytes, trailers) = decoder.trailers();
    let pair =
        |t: &httpkit_core::h1::Header| (t.name.of(bytes).to_vec(), t.value.of(bytes).to_vec());
    Ok((out, trailers.iter().map(pair).collect(), used, done))
}

/// Decodes in one piece, and sees that all cuts agree.
fn decode_within(bytes: &[u8], limits: &Limits) -> Result<Decoded, Violation> {
    let whole = decode_pieces([bytes], limits);
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]);
    assert_eq!(
        decode_pieces(bytes.chunks(1), limits),
        whole,
        "byte by byte: {text:?}"
    );
    for cut in 0..bytes.len().min(2000) {
        let (a, b) = bytes.split_at(cut);
        assert_eq!(
            decode_pieces([a, b], limits),
            whole,
            "cut at {cut}: {text:?}"
        );
    }
    whole
}

fn decode(bytes: &[u8]) -> Result<Decoded, Violation> {
    decode_within(bytes, &Limits::default())
}

fn body_of(bytes: &[u8]) -> Vec<u8> {
    let (body, _, used, done) = decode(bytes).expect("valid");
    assert!(done, "complete: {:?}", String::from_utf8_lossy(bytes));
    assert_eq!(used, bytes.len());
    body
}

#[test]
fn chunks_become_one_body() {
    for (wire, body) in [
        (&b"0\r\n\r\n"[..], &b""[..]),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"0003\r\nabc\r\n000\r\n\r\n", b"abc"),
        (b"3;x=y;z=\"q\"\r\nabc\r\n0;e\r\n\r\n", b"abc"),
        (b"3;\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
    ] {
        assert_eq!(body_of(wire), body, "{:?}", String::from_utf8_lossy(wire));
    }
}

#[test]
fn what_follows_the_last_chunk_is_left_for_the_next_request() {
    let (body, _, used, done) = decode(b"1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n").expect("valid");
    assert_eq!((&body[..], used, done), (&b"a"[..], 11, true));
}

#[test]
fn bad_framing_is_refused() {
    use Violation::*;
    for (wire, violation) in [
        (&b"3 \r\nabc"[..], ChunkSize),
        (b" 3\r\nabc", ChunkSize),
        (b"3 ;x\r\nabc", ChunkSize),
        (b"0x3\r\nabc", ChunkSize),
        (b"-1\r\n", ChunkSize),
        (b"+3\r\nabc", ChunkSize),
        (b"g\r\n", ChunkSize),
        (b"\r\n", ChunkSize),
        (b";x\r\n", ChunkSize),
        (b"\0", ChunkSize),
        (b"80000000\r\n", ChunkSize),
        (b"ffffffffffffffffffff\r\n", ChunkSize),
        (b"3\nabc\n0\n\n", BareLf),
        (b"3;x\nabc", BareLf),
        (b"3\rabc", BareCr),
        (b"3;x\ry\r\nabc", BareCr),
        (b"3\r\nabcX\r\n", ChunkEnd),
        (b"3\r\nabc\n", ChunkEnd),
        (b"3\r\nabc\rX", ChunkEnd),
        (b"0\r\nX\r\n\r\n", Trailer),
        (b"0\r\nBad Trailer: 1\r\n\r\n", Trailer),
        (b"0\r\n: 1\r\n\r\n", Trailer),
        (b"0\r\nX: a\0b\r\n\r\n", Trailer),
        (b"0\r\nX: a\r\n folded\r\n\r\n", Trailer),
        (b"0\r\nX: a\n\r\n", BareLf),
        (b"0\r\n\n", BareLf),
        (b"0\r\n\rX", BareCr),
    ] {
        let text = String::from_utf8_lossy(wire);
        assert_eq!(decode(wire).map(|_| ()), Err(violation), "{text:?}");
    }
}

#[test]
fn trailers_are_kept_in_order_with_their_repetitions() {
    let (body, trailers, ..) =
        decode(b"1\r\na\r\n0\r\nX-T: t\r\nY:z \r\nx-t:\r\n\r\n").expect("valid");
    let expected = [("X-T", "t"), ("Y", "z"), ("x-t", "")];
    let expected = expected.map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
    assert_eq!((&body[..], &trailers[..]), (&b"a"[..], &expected[..]));
}

#[test]
fn trailers_that_change_what_the_head_said_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "CONNECTION",
        "Trailer",
        "Upgrade",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Expect",
    ] {
        let wire = format!("0\r\n{name}: 1\r\n\r\n");
        let outcome = decode(wire.as_bytes()).map(|_| ());
        assert_eq!(outcome, Err(Violation::ForbiddenTrailer), "{name}");
    }
    assert!(decode(b"0\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n").is_ok());
}

#[test]
fn the_sum_of_chunks_is_refused_when_announced() {
    let limits = Limits {
        body: 100,
        ..Limits::default()
    };
    let chunk = |n: usize| format!("{n:x}\r\n{}\r\n", "a".repeat(n));
    for (sizes, good) in [
        (&[99][..], true),
        (&[100], true),
        (&[101], false),
        (&[50, 50], true),
        (&[50, 51], false),
    ] {
        let wire: String = sizes.iter().map(|&n| chunk(n)).collect::<String>() + "0\r\n\r\n";
        let outcome = decode_within(wire.as_bytes(), &limits).map(|_| ());
        assert_eq!(
            outcome,
            if good {
                Ok(())
            } else {
                Err(Violation::BodyTooLarge)
            },
            "{sizes:?}"
        );
    }
    let announced = decode_within(b"7fffffff\r\n", &limits);
    assert_eq!(announced.map(|_| ()), Err(Violation::BodyTooLarge));
}

#[test]
fn memory_follows_what_came_not_what_was_announced() {
    let limits = Limits {
        body: u64::MAX,
        ..Limits::default()
    };
    let mut out = Vec::new();
    let outcome = ChunkedDecoder::new(&limits, 0).decode(b"7fffffff\r\nabc", &mut out);
    assert_eq!(outcome, Ok((13, false)));
    assert!(out.capacity() < 64, "{}", out.capacity());
}

#[test]
fn size_lines_may_be_two_bytes_shorter_than_the_line_limit() {
    let limits = Limits {
        line: 200,
        ..Limits::default()
    };
    for (n, expected) in [
        (197, Ok(())),
        (198, Ok(())),
        (199, Err(Violation::LineTooLong)),
        (400, Err(Violation::LineTooLong)),
    ] {
        let extended = format!("0;{}\r\n\r\n", "x".repeat(n - 2));
        assert_eq!(
            decode_within(extended.as_bytes(), &limits).map(|_| ()),
            expected,
            "{n}"
        );
        let padded = format!("{}\r\n\r\n", "0".repeat(n));
        assert_eq!(
            decode_within(padded.as_bytes(), &limits).map(|_| ()),
            expected,
            "{n}"
        );
        let trailer = format!("0\r\nX:{}\r\n\r\n", "x".repeat(n - 2));
        assert_eq!(
            decode_within(trailer.as_bytes(), &limits).map(|_| ()),
            expected.map_err(|_| Violation::HeaderLineTooLong),
            "{n}"
        );
    }
}

#[test]
fn the_line_limit_starts_anew_with_each_chunk() {
    let limits = Limits {
        line: 10,
        ..Limits::default()
    };
    let wire = "1;345678\r\na\r\n".repeat(5) + "0\r\n\r\n";
    assert!(decode_within(wire.as_bytes(), &limits).is_ok());
}

#[test]
fn trailers_share_the_limit_of_the_head() {
    for (room, expected) in [
        (9, Err(Violation::HeadTooLarge)),
        (10, Ok(())),
        (11, Ok(())),
    ] {
        let limits = Limits {
            head: HEAD_LEN + room,
            ..Limits::default()
        };
        let outcome = decode_within(b"0\r\nA: b\r\nC:\r\n\r\n", &limits).map(|_| ());
        assert_eq!(outcome, expected, "{room}");
    }
}

#[test]
fn endless_trailers_are_cut_off_within_head_and_line() {
    let limits = Limits::default();
    let mut decoder = ChunkedDecoder::new(&limits, HEAD_LEN);
    let mut out = Vec::new();
    decoder.decode(b"0\r\n", &mut out).expect("valid");
    let mut sent = 0;
    let outcome = loop {
        sent += 6;
        if let Err(violation) = decoder.decode(b"X: y\r\n", &mut out) {
            break violation;
        }
        assert!(sent <= limits.head, "{sent} bytes of trailers");
    };
    assert_eq!(outcome, Violation::HeadTooLarge);
}

proptest! {
    #[test]
    fn any_body_in_any_chunks_comes_out_whole(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8),
        rest in proptest::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b"0\r\n\r\n");
        let end = wire.len();
        wire.extend_from_slice(&rest);
        let (body, _, used, done) = decode(&wire).expect("valid");
        prop_assert_eq!((body, used, done), (chunks.concat(), end, true));
    }

    #[test]
    fn whatever_arrives_nothing_panics_and_cuts_do_not_matter(
        bytes in proptest::collection::vec(
            prop_oneof![
                Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b'1'), Just(b'2'), Just(b';'),
                Just(b':'), Just(b'a'), any::<u8>(),
            ],
            0..60,
        ),
    ) {
        let _ = decode(&bytes);
    }
}
