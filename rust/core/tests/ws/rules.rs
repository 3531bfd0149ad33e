//! RFC 6455, rule by rule, and its examples.

use crate::frames::*;
use httpkit_core::ws::*;

fn outcome(frames: &[Frame]) -> Outcome {
    decode(MAX, [bytes(frames).as_slice()])
}

/// The code of the fault, and that nothing was said before it.
fn code(bytes: &[u8]) -> Option<u16> {
    let (events, fault) = decode(MAX, [bytes]);
    assert!(events.is_empty(), "{events:?}");
    fault.map(|f| f.code)
}

#[test]
fn examples_of_the_rfc_are_understood() {
    let masked_hello = [
        0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        decode(MAX, [&masked_hello[..]]),
        (vec![text("Hello")], None)
    );
    let masked_pong = [
        0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
    ];
    assert_eq!(
        decode(MAX, [&masked_pong[..]]),
        (vec![Event::Pong(b"Hello".into())], None)
    );
}

#[test]
fn examples_of_the_rfc_are_written() {
    let mut out = Vec::new();
    encode(&mut out, Opcode::Text, b"Hello");
    encode(&mut out, Opcode::Ping, b"Hello");
    assert_eq!(out, b"\x81\x05Hello\x89\x05Hello");
    let (bytes, n) = header(Opcode::Binary, 256);
    assert_eq!(bytes[..n], [0x82, 0x7e, 0x01, 0x00]);
    let (bytes, n) = header(Opcode::Binary, 65536);
    assert_eq!(bytes[..n], [0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn every_length_form_is_read_and_written() {
    for n in [0, 1, 125, 126, 127, 65535, 65536, 200_000] {
        let payload = vec![b'x'; n];
        let (events, fault) = outcome(&[frame(2, &payload)]);
        assert_eq!((events, fault), (vec![binary(&payload)], None), "{n} bytes");

        let mut out = Vec::new();
        encode(&mut out, Opcode::Binary, &payload);
        let unmasked = Frame {
            mask: None,
            ..frame(2, &payload)
        };
        assert_eq!(out, unmasked.bytes(), "{n} bytes");
    }
}

#[test]
fn fragments_make_one_message_around_control_frames() {
    let frames = [
        part(1, "ab"),
        frame(9, "p"),
        part(0, ""),
        frame(10, "q"),
        frame(0, "cd"),
        part(2, ""),
        frame(0, ""),
    ];
    let expected = vec![
        Event::Ping(b"p".into()),
        Event::Pong(b"q".into()),
        text("abcd"),
        binary(""),
    ];
    assert_eq!(outcome(&frames), (expected, None));
}

#[test]
fn a_character_may_be_cut_by_a_fragment() {
    let frames = [
        part(1, b"h\xc3"),
        part(0, b"\xa9\xf0\x9f"),
        frame(0, b"\x98\x80"),
    ];
    assert_eq!(outcome(&frames), (vec![text("h\u{e9}\u{1f600}")], None));
}

#[test]
fn broken_framing_is_1002() {
    let x = || frame(1, "x");
    let mut cases = vec![
        ("not masked", Frame { mask: None, ..x() }.bytes()),
        ("16 bit length of 1", x().bytes_announcing(&[126, 0, 1])),
        (
            "64 bit length of 1",
            x().bytes_announcing(&[127, 0, 0, 0, 0, 0, 0, 0, 1]),
        ),
        (
            "64 bit length of 65535",
            x().bytes_announcing(&[127, 0, 0, 0, 0, 0, 0, 255, 255]),
        ),
        (
            "negative length",
            x().bytes_announcing(&[127, 255, 255, 255, 255, 255, 255, 255, 255]),
        ),
        ("fragmented ping", part(9, "x").bytes()),
        ("fragmented pong", part(10, "x").bytes()),
        ("fragmented close", part(8, "").bytes()),
        ("ping of 126 bytes", frame(9, [0; 126]).bytes()),
        ("close of 126 bytes", close(1000, [b'x'; 124]).bytes()),
        (
            "ping announcing 64 KiB",
            frame(9, "").bytes_announcing(&[127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ),
        ("continuation first", frame(0, "x").bytes()),
        ("open continuation first", part(0, "x").bytes()),
        ("text inside text", bytes(&[part(1, "a"), frame(1, "b")])),
        ("binary inside text", bytes(&[part(1, "a"), part(2, "b")])),
        ("close of one byte", frame(8, [3]).bytes()),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    cases.extend((1..8).map(|reserved| ("reserved bits", Frame { reserved, ..x() }.bytes())));
    let reserved = (3..8).chain(11..16);
    cases.extend(reserved.map(|opcode| ("reserved opcode", frame(opcode, "x").bytes())));
    for (case, bytes) in cases {
        assert_eq!(code(&bytes), Some(1002), "{case}: {bytes:02x?}");
    }
}

#[test]
fn close_codes_are_those_that_are_registered_and_may_be_sent_and_those_for_applications() {
    let registered = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
    ];
    for n in 0..=u16::MAX {
        let valid = registered.contains(&n) || (3000..5000).contains(&n);
        assert_eq!(valid_close_code(n), valid, "{n}");
    }
}

#[test]
fn close_is_told_with_the_payload_to_echo() {
    for n in [1000, 1001, 1011, 1012, 1014, 3000, 4999] {
        let payload = close_payload(n, "why");
        let expected = Event::Close {
            code: Some(n),
            reason: "why".into(),
            payload,
        };
        assert_eq!(outcome(&[close(n, "why")]), (vec![expected], None));
    }
    for n in [
        0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535,
    ] {
        assert_eq!(code(&close(n, "").bytes()), Some(1002), "{n}");
    }
    let none = Event::Close {
        code: None,
        reason: String::new(),
        payload: Vec::new(),
    };
    assert_eq!(outcome(&[frame(8, "")]), (vec![none], None));
}

#[test]
fn nothing_is_heard_after_a_close_or_a_fault() {
    let (events, fault) = outcome(&[close(1000, ""), frame(1, "late"), frame(3, "")]);
    assert_eq!((events.len(), fault), (1, None));

    let mut decoder = Decoder::new(MAX);
    let broken = frame(3, "x").bytes();
    assert!(decoder.decode(&broken).is_err());
    assert_eq!(decoder.decode(&broken), Ok((broken.len(), None)));
}

#[test]
fn a_close_inside_a_fragmented_message_ends_it() {
    let (events, fault) = outcome(&[part(1, "a"), close(1000, ""), frame(0, "b")]);
    assert_eq!((events.len(), fault), (1, None));
}

#[test]
fn an_overlong_reason_is_cut_between_characters() {
    assert_eq!(close_payload(1000, &"x".repeat(124)).len(), 2 + MAX_REASON);
    let umlauts = close_payload(1000, &"\u{e4}".repeat(62));
    assert_eq!(
        std::str::from_utf8(&umlauts[2..]),
        Ok("\u{e4}".repeat(61).as_str())
    );
}

#[test]
fn text_that_is_not_utf8_is_1007() {
    let cases: [&[u8]; 9] = [
        b"\xff",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe2\x98",
        b"ok\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\xe2\x28\xa1",
        b"a\xc3",
    ];
    for payload in cases {
        assert_eq!(
            code(&frame(1, payload).bytes()),
            Some(1007),
            "{payload:02x?}"
        );
        let split = bytes(&[part(1, &payload[..1]), frame(0, &payload[1..])]);
        assert_eq!(code(&split), Some(1007), "fragmented {payload:02x?}");
        let reason = close(1000, payload).bytes();
        assert_eq!(code(&reason), Some(1007), "as reason {payload:02x?}");
        assert_eq!(outcome(&[frame(2, payload)]), (vec![binary(payload)], None));
    }
}

#[test]
fn bad_utf8_is_known_at_its_first_impossible_byte() {
    // U+110000 is impossible from its second byte on; the frame announces more.
    let sent = part(1, "x".repeat(200)).bytes();
    let mut decoder = Decoder::new(MAX);
    assert_eq!(decoder.decode(&sent), Ok((sent.len(), None)));
    let bytes = frame(0, b"\xce\xba\xf4\x90\x80\x80edited").bytes();
    let (good, bad) = bytes.split_at(bytes.len() - 9);
    assert_eq!(decoder.decode(good), Ok((good.len(), None)));
    assert_eq!(decoder.decode(&bad[..1]).map_err(|f| f.code), Err(1007));
}

#[test]
fn messages_up_to_the_limit_pass_and_bigger_ones_are_1009() {
    let limited = |frames: &[Frame]| {
        let (events, fault) = decode(50, [bytes(frames).as_slice()]);
        (events.len(), fault.map(|f| f.code))
    };
    let x = |n| "x".repeat(n);
    assert_eq!(limited(&[frame(1, x(50)), frame(1, x(50))]), (2, None));
    assert_eq!(limited(&[frame(1, x(51))]), (0, Some(1009)));
    assert_eq!(limited(&[part(1, x(30)), frame(0, x(20))]), (1, None));
    assert_eq!(limited(&[part(1, x(30)), frame(0, x(21))]), (0, Some(1009)));
    assert_eq!(limited(&[frame(9, x(60)), close(1000, x(60))]), (2, None));
}

#[test]
fn an_announced_size_over_the_limit_is_refused_at_the_header() {
    let announced = frame(2, "").bytes_announcing(&[127, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff]);
    assert_eq!(code(&announced), Some(1009));
    let most = frame(2, "").bytes_announcing(&[127, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(code(&most), Some(1009));
    let next = [
        part(2, "x").bytes(),
        frame(0, "").bytes_announcing(&[127, 0x7f, 255, 255, 255, 255, 255, 255, 255]),
    ];
    assert_eq!(code(&next.concat()), Some(1009));
}
