//! The PROXY protocol: the table of the contract, §4.4, and version 2.

use std::net::IpAddr;

use httpkit_core::h1::proxy::{ProxyMode, ProxyOutcome, address_text, parse};
use httpkit_core::h1::{Limits, Violation};
use proptest::prelude::*;

use crate::feed::feed_every_way;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Source, destination and length.
type Parsed = Option<(String, String, usize)>;

fn read(bytes: &[u8], mode: ProxyMode) -> Result<Parsed, Violation> {
    match parse(bytes, mode)? {
        ProxyOutcome::NeedMore => panic!("unfinished: {:?}", String::from_utf8_lossy(bytes)),
        ProxyOutcome::None => Ok(None),
        ProxyOutcome::Header(header) => {
            let text = |a: Option<std::net::SocketAddr>| a.map_or("-".into(), |a| a.to_string());
            Ok(Some((
                text(header.source),
                text(header.destination),
                header.len,
            )))
        }
    }
}

fn header(source: &str, destination: &str, len: usize) -> Result<Parsed, Violation> {
    Ok(Some((source.into(), destination.into(), len)))
}

fn v2(version_command: u8, family: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u16).to_be_bytes();
    [SIGNATURE, &[version_command, family], &length, payload].concat()
}

#[test]
fn lines_of_version_one_name_both_ends() {
    for (line, source, destination) in [
        (
            "PROXY TCP4 1.2.3.4 5.6.7.8 1111 80",
            "1.2.3.4:1111",
            "5.6.7.8:80",
        ),
        (
            "PROXY TCP4 0.0.0.0 255.255.255.255 1 65535",
            "0.0.0.0:1",
            "255.255.255.255:65535",
        ),
        (
            "PROXY TCP6 ::1 2001:db8::2 1 2",
            "[::1]:1",
            "[2001:db8::2]:2",
        ),
        ("PROXY UNKNOWN", "-", "-"),
        ("PROXY UNKNOWN ffff::1 ffff::2 1 2", "-", "-"),
    ] {
        let bytes = format!("{line}\r\nGET");
        let expected = header(source, destination, line.len() + 2);
        assert_eq!(
            read(bytes.as_bytes(), ProxyMode::Enable),
            expected,
            "{line}"
        );
        assert_eq!(
            read(bytes.as_bytes(), ProxyMode::Optional),
            expected,
            "{line}"
        );
        assert_eq!(
            read(bytes.as_bytes(), ProxyMode::Disable),
            Ok(None),
            "{line}"
        );
    }
}

#[test]
fn bad_lines_are_refused_in_both_modes() {
    for line in [
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1111 80 9",
        "PROXY TCP4 1.2.3.4 5.6.7.8 0 80",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 +2",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 ",
        "PROXY TCP4  1.2.3.4 5.6.7.8 1 2",
        "PROXY  TCP4 1.2.3.4 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 ",
        "PROXY TCP4 a.b 5.6.7.8 1 2",
        "PROXY TCP4 localhost 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3.256 5.6.7.8 1 2",
        "PROXY TCP4 1.2.3 5.6.7.8 1 2",
        "PROXY TCP4 ::1 ::1 1 2",
        "PROXY TCP6 1.2.3.4 5.6.7.8 1 2",
        "PROXY TCP6 ::1%eth0 ::1 1 2",
        "PROXY tcp4 1.2.3.4 5.6.7.8 1 2",
        "PROXY UDP4 1.2.3.4 5.6.7.8 1 2",
        "PROXY ",
        "PROXY UNKNOWNX",
    ] {
        let bytes = format!("{line}\r\nGET / HTTP/1.1\r\n");
        for mode in [ProxyMode::Enable, ProxyMode::Optional] {
            let outcome = read(bytes.as_bytes(), mode);
            assert_eq!(outcome, Err(Violation::ProxyLine), "{line:?} {mode:?}");
        }
    }
    for bytes in [
        &b"PROXY UNKNOWN\n"[..],
        b"PROXY UNKNOWN\rX",
        b"PROXY TCP4 \xff\r\n",
    ] {
        assert_eq!(read(bytes, ProxyMode::Enable), Err(Violation::ProxyLine));
    }
}

#[test]
fn without_a_header_the_mode_decides() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"POST /",
        b"PROPFIND /",
        b"PROXYX",
        b"\r\nGET",
    ] {
        assert_eq!(read(bytes, ProxyMode::Optional), Ok(None));
        assert_eq!(read(bytes, ProxyMode::Disable), Ok(None));
        assert_eq!(read(bytes, ProxyMode::Enable), Err(Violation::ProxyLine));
    }
}

#[test]
fn a_line_of_107_bytes_passes_and_one_more_does_not() {
    for (n, good) in [(106, true), (107, true), (108, false), (200, false)] {
        let line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(n - 16));
        assert_eq!(line.len(), n);
        let outcome = read(line.as_bytes(), ProxyMode::Enable).map(|h| h.map(|h| h.2));
        let expected = if good {
            Ok(Some(n))
        } else {
            Err(Violation::ProxyLine)
        };
        assert_eq!(outcome, expected, "{n}");
    }
    let open = [b"PROXY UNKNOWN ", &[b'x'; 200][..]].concat();
    assert_eq!(
        parse(&open[..106], ProxyMode::Enable),
        Ok(ProxyOutcome::NeedMore)
    );
    assert_eq!(
        parse(&open[..107], ProxyMode::Enable),
        Err(Violation::ProxyLine)
    );
}

#[test]
fn headers_of_version_two_name_both_ends() {
    let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 4, 0x57, 0, 80];
    let v6 = [&[0; 15][..], &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
    let with_tlv = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
    for (bytes, source, destination) in [
        (v2(0x21, 0x11, &v4), "1.2.3.4:1111", "5.6.7.8:80"),
        (v2(0x21, 0x12, &v4), "1.2.3.4:1111", "5.6.7.8:80"),
        (v2(0x21, 0x11, &with_tlv), "1.2.3.4:1111", "5.6.7.8:80"),
        (v2(0x21, 0x21, &v6), "[::1]:1", "[::2]:2"),
        (v2(0x21, 0x31, &[0; 216]), "-", "-"),
        (v2(0x21, 0x00, b""), "-", "-"),
        (v2(0x21, 0x00, b"some tlvs"), "-", "-"),
        (v2(0x20, 0x00, b""), "-", "-"),
        (v2(0x20, 0x11, &v4), "-", "-"),
        (v2(0x20, 0x11, b""), "-", "-"),
    ] {
        let expected = header(source, destination, bytes.len());
        let stream = [&bytes[..], b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(read(&stream, ProxyMode::Enable), expected, "{bytes:?}");
        assert_eq!(read(&stream, ProxyMode::Optional), expected, "{bytes:?}");
    }
}

#[test]
fn version_two_may_say_that_the_peer_came_through_tls() {
    let v4 = [1, 2, 3, 4, 5, 6, 7, 8, 4, 0x57, 0, 80];
    let v6 = [0; 36];
    let other = [3, 0, 4, 1, 2, 3, 4];
    let tls = [0x20, 0, 5, 1, 0, 0, 0, 0];
    let no_tls = [0x20, 0, 5, 6, 0, 0, 0, 0];
    for (family, payload, expected) in [
        (0x11, [&v4[..], &tls].concat(), true),
        (0x11, [&v4[..], &other, &tls].concat(), true),
        (0x21, [&v6[..], &tls, &other].concat(), true),
        (0x31, [&[0; 216][..], &tls].concat(), true),
        (0x00, tls.to_vec(), true),
        (0x11, [&v4[..], &no_tls].concat(), false),
        (0x11, [&v4[..], &other].concat(), false),
        (0x11, [&v4[..], &tls[..7]].concat(), false),
        (0x11, [&v4[..], &tls[..2]].concat(), false),
        (0x11, [&v4[..], &[0x20, 0, 0]].concat(), false),
    ] {
        let bytes = v2(0x21, family, &payload);
        let Ok(ProxyOutcome::Header(header)) = parse(&bytes, ProxyMode::Enable) else {
            panic!("no header: {payload:?}");
        };
        assert_eq!(header.tls, expected, "{payload:?}");
    }
    // A balancer that speaks for itself says nothing of a peer.
    let own = v2(0x20, 0x11, &[&v4[..], &tls].concat());
    let outcome = parse(&own, ProxyMode::Enable);
    assert!(matches!(outcome, Ok(ProxyOutcome::Header(header)) if !header.tls));
}

#[test]
fn bad_headers_of_version_two_are_refused() {
    let v4 = [0; 12];
    for bytes in [
        v2(0x11, 0x11, &v4),
        v2(0x22, 0x11, &v4),
        v2(0x21, 0x41, &v4),
        v2(0x21, 0x13, &v4),
        v2(0x21, 0x11, &v4[..11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x00, &[0; 16385]),
    ] {
        assert_eq!(
            read(&bytes, ProxyMode::Enable),
            Err(Violation::ProxyLine),
            "{bytes:?}"
        );
    }
    assert!(read(&v2(0x21, 0x00, &[0; 16384]), ProxyMode::Enable).is_ok());
}

#[test]
fn an_announced_length_above_the_bound_is_refused_before_it_arrives() {
    let bytes = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    assert_eq!(parse(&bytes, ProxyMode::Enable), Err(Violation::ProxyLine));
}

#[test]
fn the_request_behind_a_header_is_read_however_the_bytes_are_cut() {
    let request = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    for header in [
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n".to_vec(),
        v2(0x21, 0x11, &[1, 2, 3, 4, 5, 6, 7, 8, 4, 0x57, 0, 80]),
        Vec::new(),
    ] {
        let bytes = [&header[..], request, request].concat();
        let outcome = feed_every_way(&bytes, &Limits::default(), ProxyMode::Optional);
        assert_eq!(
            (outcome.violation, outcome.requests.len()),
            (None, 2),
            "{header:?}"
        );
        let source = outcome.proxy.and_then(|p| p.source).map(|s| s.to_string());
        assert_eq!(
            source.as_deref(),
            (!header.is_empty()).then_some("1.2.3.4:1111")
        );
    }
}

#[test]
fn addresses_are_written_in_full() {
    for (ip, text) in [
        ("1.2.3.4", "1.2.3.4"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("2001:db8::00ff", "2001:db8:0:0:0:0:0:ff"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
    ] {
        assert_eq!(
            address_text(ip.parse::<IpAddr>().expect("an address")),
            text
        );
    }
}

proptest! {
    #[test]
    fn whatever_arrives_nothing_panics_and_cuts_do_not_matter(
        prefix in prop_oneof![Just(&b""[..]), Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 "[..]), Just(SIGNATURE)],
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
        optional in any::<bool>(),
    ) {
        let mode = if optional { ProxyMode::Optional } else { ProxyMode::Enable };
        feed_every_way(&[prefix, &bytes].concat(), &Limits::default(), mode);
    }
}
