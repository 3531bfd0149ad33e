//! Chunked bodies and trailers.

use httpkit_core::h1::{ChunkedDecoder, Limits, Violation};
use proptest::prelude::*;

const HEAD_LEN: usize = 100;
const HEAD_FIELDS: usize = 4;

type Decoded = (Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>, usize, bool);

fn decode_pieces<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    limits: &Limits,
) -> Result<Decoded, Violation> {
    let mut decoder = ChunkedDecoder::new(limits, HEAD_LEN, HEAD_FIELDS);
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
        (b"3;a\r\nabc\r\n0;b=c;d\r\n\r\n", b"abc"),
        (b"3; \ta\t = \t1 ; b\r\nabc\r\n0\r\n\r\n", b"abc"),
        (
            b"3;a=\"\"\r\nabc\r\n0;a=\"\\\"\\\\ ;\t\xff\"\r\n\r\n",
            b"abc",
        ),
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
        (b"3;\r\nabc", ChunkExtension),
        (b"3;;a\r\nabc", ChunkExtension),
        (b"3;a;\r\nabc", ChunkExtension),
        (b"3; \r\nabc", ChunkExtension),
        (b"3;a=\r\nabc", ChunkExtension),
        (b"3;a=b=c\r\nabc", ChunkExtension),
        (b"3;a b\r\nabc", ChunkExtension),
        (b"3;a=b c\r\nabc", ChunkExtension),
        (b"3;a \r\nabc", ChunkExtension),
        (b"3;a=b \r\nabc", ChunkExtension),
        (b"3;=b\r\nabc", ChunkExtension),
        (b"3;\"a\"\r\nabc", ChunkExtension),
        (b"3;a,b\r\nabc", ChunkExtension),
        (b"3;a=\"b\r\nabc", ChunkExtension),
        (b"3;a=\"b\\\"\r\nabc", ChunkExtension),
        (b"3;a=\"b\\\r\nabc", ChunkExtension),
        (b"3;a=b\"\r\nabc", ChunkExtension),
        (b"3;a=\"b\"c\r\nabc", ChunkExtension),
        (b"3;a=\"b\0\"\r\nabc", ChunkExtension),
        (b"3;a=\"\\\x01\"\r\nabc", ChunkExtension),
        (b"3;a=\"\x7f\"\r\nabc", ChunkExtension),
        (b"3;\0\r\nabc", ChunkExtension),
        (b"3;a\0\r\nabc", ChunkExtension),
        (b"3;a=\0\r\nabc", ChunkExtension),
        (b"3;a\x0b=1\r\nabc", ChunkExtension),
        (b"3;\xe9\r\nabc", ChunkExtension),
        (b"0;\r\n\r\n", ChunkExtension),
        (b"3;a=\"\nabc", BareLf),
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
    let mut out = Vec::<u8>::new();
    let outcome = ChunkedDecoder::new(&limits, 0, 0).decode(b"7fffffff\r\nabc", &mut out);
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

/// Chunks of one byte, each with this many bytes behind its size.
fn extended(extensions: &[usize]) -> Vec<u8> {
    let chunk = |&n: &usize| format!("1;{}\r\na\r\n", "x".repeat(n - 1));
    let chunks: String = extensions.iter().map(chunk).collect();
    (chunks + "0\r\n\r\n").into_bytes()
}

#[test]
fn the_extensions_of_a_body_have_16_kib_together() {
    let limits = Limits::with_line(20_000, 1 << 30);
    for (extensions, expected) in [
        (vec![16_384], Ok(())),
        (vec![16_385], Err(Violation::ChunkExtensionsTooLarge)),
        (vec![8_000, 8_384], Ok(())),
        (vec![8_000, 8_385], Err(Violation::ChunkExtensionsTooLarge)),
        (vec![4; 4_096], Ok(())),
        (vec![4; 4_097], Err(Violation::ChunkExtensionsTooLarge)),
    ] {
        let outcome = decode_pieces([&extended(&extensions)[..]], &limits);
        assert_eq!(outcome.map(|_| ()), expected, "{} chunks", extensions.len());
    }
}

#[test]
fn zeros_before_sizes_count_as_extensions_do() {
    let limits = Limits::with_line(20_000, 1 << 30);
    let padded = |zeros: usize| format!("{}1\r\na\r\n", "0".repeat(zeros));
    for (chunks, expected) in [
        (padded(7).repeat(5_000), Ok(())),
        (padded(16_391), Ok(())),
        (padded(16_392), Err(Violation::ChunkExtensionsTooLarge)),
        (padded(8).repeat(16_384), Ok(())),
        (
            padded(8).repeat(16_385),
            Err(Violation::ChunkExtensionsTooLarge),
        ),
    ] {
        let wire = chunks + "0\r\n\r\n";
        let outcome = decode_pieces([wire.as_bytes()], &limits);
        assert_eq!(outcome.map(|_| ()), expected, "{} bytes", wire.len());
    }
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
fn trailers_share_the_number_of_headers() {
    let trailers = |n| format!("0\r\n{}\r\n", "a: b\r\n".repeat(n));
    for (limit, n, expected) in [
        (Some(HEAD_FIELDS), 0, Ok(())),
        (Some(HEAD_FIELDS), 1, Err(Violation::TooManyFields)),
        (Some(HEAD_FIELDS + 2), 2, Ok(())),
        (Some(HEAD_FIELDS + 2), 3, Err(Violation::TooManyFields)),
        (Some(1000), 996, Ok(())),
        (Some(1000), 997, Err(Violation::TooManyFields)),
        (None, 5000, Ok(())),
    ] {
        let limits = Limits::default().with_fields(limit);
        let outcome = decode_pieces([trailers(n).as_bytes()], &limits).map(|_| ());
        assert_eq!(outcome, expected, "{limit:?} {n}");
    }
}

#[test]
fn endless_trailers_are_cut_off_within_head_and_line() {
    let limits = Limits::default().with_fields(None);
    let mut decoder = ChunkedDecoder::new(&limits, HEAD_LEN, HEAD_FIELDS);
    let mut out = Vec::<u8>::new();
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

/// Whether `text`, what follows a semicolon, is an extension, and maybe more of them.
///
/// The grammar by descent, each rule eating what it takes.
fn is_extension(text: &[u8]) -> bool {
    fn blanks(text: &[u8]) -> &[u8] {
        let n = text.iter().take_while(|b| b" \t".contains(b)).count();
        &text[n..]
    }
    fn token(text: &[u8]) -> Option<&[u8]> {
        let of_token = |b: &&u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
        let n = text.iter().take_while(of_token).count();
        (n > 0).then_some(&text[n..])
    }
    fn quoted(text: &[u8]) -> Option<&[u8]> {
        let mut rest = text.strip_prefix(b"\"")?;
        loop {
            rest = match rest {
                [b'"', rest @ ..] => return Some(rest),
                [b'\\', b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
                [b'\\', ..] => return None,
                [b'\t' | b' '..=b'~' | 0x80.., rest @ ..] => rest,
                _ => return None,
            }
        }
    }
    let Some(rest) = token(blanks(text)) else {
        return false;
    };
    let rest = match blanks(rest).strip_prefix(b"=") {
        None => rest,
        Some(value) => match token(blanks(value)).or_else(|| quoted(blanks(value))) {
            Some(rest) => rest,
            None => return false,
        },
    };
    rest.is_empty() || blanks(rest).strip_prefix(b";").is_some_and(is_extension)
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
    fn every_extension_of_the_grammar_passes(extension in "([ \t]*;[ \t]*[a-z!#$&'*+.^_`|~-]{1,3}([ \t]*=[ \t]*([a-z0-9]{1,3}|\"([ !#-\\[\\]-~\t]|\\\\[ -~\t]){0,4}\"))?){0,3}") {
        // A blank before the first semicolon is the one that http-kit refuses.
        let extension = extension.trim_start();
        let wire = format!("1{extension}\r\na\r\n0{extension}\r\n\r\n");
        prop_assert_eq!(body_of(wire.as_bytes()), b"a");
    }

    #[test]
    fn an_extension_passes_if_and_only_if_a_reader_of_the_grammar_finds_no_fault(
        extension in proptest::collection::vec(
            prop_oneof![
                4 => Just(b';'), 4 => Just(b'a'), 3 => Just(b'='), 3 => Just(b'"'), 2 => Just(b' '),
                2 => Just(b'\\'), 1 => Just(b'\t'), 1 => Just(0), 1 => any::<u8>(),
            ],
            0..12,
        ),
    ) {
        prop_assume!(!extension.iter().any(|b| b"\r\n".contains(b)));
        let wire = [b"0;", &extension[..], b"\r\n\r\n"].concat();
        let outcome = decode(&wire).map(|(.., done)| done);
        let expected = if is_extension(&extension) {
            Ok(true)
        } else {
            Err(Violation::ChunkExtension)
        };
        prop_assert_eq!(outcome, expected, "{:?}", String::from_utf8_lossy(&wire));
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
