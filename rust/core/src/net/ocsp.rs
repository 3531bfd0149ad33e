//! OCSP responses (RFC 6960), as far as a server that passes them on has to know them: its clients check the rest.

use super::x509::{self, Der, INTEGER, OCTETS, SEQUENCE};

const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
/// The first field of the response itself, and of what it has about one certificate.
const FIRST: u8 = 0xa0;
const GOOD: u8 = 0x80;
const REVOKED: u8 = 0xa1;

/// A response that says nothing readable about the certificate holds until then: it is never sent.
pub(super) const NEVER: u64 = 0;

/// Until when `response` says that `certificate` is not revoked, in seconds since 1970; `u64::MAX` if it does not say,
/// and [`NEVER`] if it says nothing about it, since certificates are renewed before their responses are.
pub(super) fn holds_until(response: &[u8], certificate: &[u8]) -> Result<u64, String> {
    let status = status(response).ok_or("its OCSP response cannot be read")?;
    if status != 0 {
        return Err(format!("its OCSP response is an error, {status}"));
    }
    let serial = x509::serial(certificate).ok_or("its certificate cannot be read")?;
    let mut singles = singles(response).ok_or("its OCSP response cannot be read")?;
    while let Some((SEQUENCE, single)) = singles.next() {
        if let Some((of, state, until)) = read_single(single)
            && of == serial
        {
            return match state {
                GOOD => Ok(until),
                REVOKED => Err("its OCSP response says that it is revoked".to_owned()),
                _ => Err("its OCSP response says that it is unknown".to_owned()),
            };
        }
    }
    Ok(NEVER)
}

/// 0 if there is a response.
fn status(response: &[u8]) -> Option<u8> {
    let status = Der(Der(response).expect(SEQUENCE)?).expect(ENUMERATED)?;
    status.first().copied()
}

/// What it has about each certificate.
fn singles(response: &[u8]) -> Option<Der<'_>> {
    let mut outer = Der(Der(response).expect(SEQUENCE)?);
    outer.expect(ENUMERATED)?;
    let mut typed = Der(Der(outer.expect(FIRST)?).expect(SEQUENCE)?);
    typed.next()?;
    let mut basic = Der(Der(typed.expect(OCTETS)?).expect(SEQUENCE)?);
    let mut data = Der(basic.expect(SEQUENCE)?);
    data.optional(FIRST);
    // The responder, and when it responded.
    data.next()?;
    data.expect(GENERALIZED_TIME)?;
    Some(Der(data.expect(SEQUENCE)?))
}

/// The serial number, the state, and until when that holds.
fn read_single(single: &[u8]) -> Option<(&[u8], u8, u64)> {
    let mut single = Der(single);
    let mut id = Der(single.expect(SEQUENCE)?);
    for _ in 0..3 {
        id.next()?;
    }
    let serial = id.expect(INTEGER)?;
    let (state, _) = single.next()?;
    single.expect(GENERALIZED_TIME)?;
    let until = match single.expect(FIRST) {
        Some(next_update) => seconds(Der(next_update).expect(GENERALIZED_TIME)?)?,
        None => u64::MAX,
    };
    Some((serial, state, until))
}

/// Of a time such as `20261128183000Z`; `None` for other forms, and for years before 1970.
fn seconds(time: &[u8]) -> Option<u64> {
    let digits = time.strip_suffix(b"Z")?;
    if digits.len() != 14 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = digits[from..to].iter();
        digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'))
    };
    let days = days(number(0, 4), number(4, 6), number(6, 8))?;
    Some(((days * 24 + number(8, 10)) * 60 + number(10, 12)) * 60 + number(12, 14))
}

/// From 1970-01-01 to this day.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March have their leap day at the end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    // 719468 days are from March of the year 0 to 1970.
    (year * 365 + leap_days + of_year).checked_sub(719_468)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = content.len() as u16;
        [&[tag, 0x82][..], &len.to_be_bytes(), &content].concat()
    }

    /// A response, without a valid signature.
    pub(in crate::net) fn response(serial: &[u8], state: u8, until: Option<&str>) -> Vec<u8> {
        let time = |text: &str| der(GENERALIZED_TIME, &[text.as_bytes()]);
        let made = time("20260101000000Z");
        let hash = der(OCTETS, &[&[1; 20]]);
        let id = der(
            SEQUENCE,
            &[&der(SEQUENCE, &[]), &hash, &hash, &der(INTEGER, &[serial])],
        );
        let next = until.map(|until| der(FIRST, &[&time(until)]));
        let single = der(
            SEQUENCE,
            &[&id, &der(state, &[]), &made, &next.unwrap_or_default()],
        );
        let responder = der(0xa2, &[&hash]);
        let data = der(SEQUENCE, &[&responder, &made, &der(SEQUENCE, &[&single])]);
        let basic = der(SEQUENCE, &[&data]);
        let typed = der(SEQUENCE, &[&der(0x06, &[&[1]]), &der(OCTETS, &[&basic])]);
        der(
            SEQUENCE,
            &[&der(ENUMERATED, &[&[0]]), &der(FIRST, &[&typed])],
        )
    }

    #[test]
    fn a_response_holds_for_its_certificate_until_it_says() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = made.cert.der();
        let serial = x509::serial(certificate).unwrap();
        for (serial, state, until, expected) in [
            (serial, GOOD, Some("21000301000000Z"), Ok(4_107_542_400)),
            (serial, GOOD, Some("20000229235959Z"), Ok(951_868_799)),
            (serial, GOOD, None, Ok(u64::MAX)),
            (serial, REVOKED, None, Err("says that it is revoked")),
            (serial, 0x82, None, Err("says that it is unknown")),
            (&[5], GOOD, None, Ok(NEVER)),
            (&[5], REVOKED, None, Ok(NEVER)),
            (serial, GOOD, Some("some day"), Ok(NEVER)),
        ] {
            let response = response(serial, state, until);
            let expected = expected.map_err(|end| format!("its OCSP response {end}"));
            assert_eq!(holds_until(&response, certificate), expected);
        }
        let whole = response(serial, GOOD, None);
        for len in 0..whole.len() {
            assert!(holds_until(&whole[..len], certificate).is_err(), "{len}");
        }
    }

    #[test]
    fn times_are_counted_from_1970() {
        for (text, expected) in [
            ("19700101000000Z", Some(0)),
            ("20000229235959Z", Some(951_868_799)),
            ("20261128183649Z", Some(1_795_891_009)),
            ("21000301000000Z", Some(4_107_542_400)),
            ("19691231235959Z", None),
            ("20261301000000Z", None),
            ("20261128183649", None),
            ("20261128183649.5Z", None),
        ] {
            assert_eq!(seconds(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_response_is_refused() {
        let certificate = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = certificate.cert.der();
        for (bytes, expected) in [
            (&b""[..], "its OCSP response cannot be read"),
            (b"\x30\x03\x0a\x01\x06", "its OCSP response is an error, 6"),
            (b"\x30\x03\x0a\x01\x00", "its OCSP response cannot be read"),
            (certificate, "its OCSP response cannot be read"),
        ] {
            assert_eq!(holds_until(bytes, certificate), Err(expected.to_owned()));
        }
    }
}
