//! Lines of a response: from bytes to values, or to an error that quotes them.

use super::error::CallError;
use crate::grammar::{
    Extension, FORBIDDEN_TRAILERS, MAX_CHUNK, SIZE_DIGITS, Version, decimal, is_text, is_token,
    trim,
};

/// Version and status of a status line; any number of blanks may separate words.
pub(super) fn status(line: &[u8]) -> Result<(Version, u16), CallError> {
    let mut words = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .filter(|word| !word.is_empty());
    let (Some(version), Some(code)) = (words.next(), words.next()) else {
        let line = latin1(line);
        return Err(CallError::protocol(format!("not http protocol? {line}")));
    };
    Ok((parse_version(version)?, parse_status(code)?))
}

/// Name and value of a header line.
pub(super) fn header(line: &[u8]) -> Result<(&[u8], &[u8]), CallError> {
    let colon = match line.iter().position(|byte| *byte == b':') {
        None | Some(0) => None,
        Some(_) if matches!(line[0], b' ' | b'\t') => None,
        found => found,
    };
    let Some(colon) = colon else {
        let line = latin1(line);
        return Err(CallError::protocol(format!(
            "Malformed HTTP header: {line}"
        )));
    };
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    if !name.iter().all(|byte| is_token(*byte)) {
        let name = latin1(name);
        return Err(CallError::protocol(format!(
            "Invalid HTTP header name: {name}"
        )));
    }
    if !value.iter().all(|byte| is_text(*byte)) {
        return Err(CallError::protocol(
            "Invalid character in HTTP header value",
        ));
    }
    Ok((name, value))
}

pub(super) fn check_trailer(name: &[u8]) -> Result<(), CallError> {
    let lower = name.to_ascii_lowercase();
    let forbidden = FORBIDDEN_TRAILERS
        .iter()
        .find(|field| field.as_bytes() == lower);
    match forbidden {
        Some(field) => Err(CallError::protocol(format!(
            "Forbidden trailer field: {field}"
        ))),
        None => Ok(()),
    }
}

fn parse_version(word: &[u8]) -> Result<Version, CallError> {
    match word {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        other => {
            let other = latin1(other);
            Err(CallError::protocol(format!(
                "Unsupported HTTP version: {other}"
            )))
        }
    }
}

fn parse_status(word: &[u8]) -> Result<u16, CallError> {
    match word {
        [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            let digit = |byte: &u8| u16::from(byte - b'0');
            Ok(digit(a) * 100 + digit(b) * 10 + digit(c))
        }
        other => {
            let other = latin1(other);
            Err(CallError::protocol(format!(
                "Invalid HTTP status code: {other}"
            )))
        }
    }
}

pub(super) fn content_length(value: &[u8]) -> Result<u64, CallError> {
    decimal(value, i64::MAX as u64).ok_or_else(|| {
        let value = latin1(value);
        CallError::protocol(format!("Invalid Content-Length: {value}"))
    })
}

/// Size of a chunk from its line, and how many of the line's bytes were not part of it.
pub(super) fn chunk_size(line: &[u8]) -> Result<(u64, usize), CallError> {
    let end = line.iter().position(|byte| *byte == b';');
    let (size, extensions) = line.split_at(end.unwrap_or(line.len()));
    let number = chunk_number(size)?;
    if !Extension::fits(extensions) {
        return Err(CallError::protocol("Invalid chunk extension"));
    }
    let extra = extensions.len() + size.len().saturating_sub(SIZE_DIGITS);
    Ok((number, extra))
}

fn chunk_number(size: &[u8]) -> Result<u64, CallError> {
    let mut number = 0_u64;
    let valid = !size.is_empty()
        && size.iter().all(|byte| {
            let digit = char::from(*byte).to_digit(16);
            number = (number << 4) | u64::from(digit.unwrap_or(0));
            digit.is_some() && number <= MAX_CHUNK
        });
    if valid {
        return Ok(number);
    }
    let size = latin1(size);
    Err(CallError::protocol(format!(
        "Expected a non-negative chunk size, got {size}"
    )))
}

/// Peers write heads in ISO-8859-1; each byte is one character.
pub(super) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
