//! HTTP's grammar of bytes, for the server and the client.

/// Which bytes are ASCII letters, digits or one of `marks`.
pub(crate) const fn letters_digits_and(marks: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 128 {
        table[b] = (b as u8).is_ascii_alphanumeric();
        b += 1;
    }
    let mut i = 0;
    while i < marks.len() {
        table[marks[i] as usize] = true;
        i += 1;
    }
    table
}

const TOKEN: [bool; 256] = letters_digits_and(b"!#$%&'*+-.^_`|~");

/// A character of a token (RFC 9110 5.6.2).
pub(crate) fn is_token(b: u8) -> bool {
    TOKEN[b as usize]
}

/// HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// Default limit on the bytes of a head, including interim responses and trailers.
pub(crate) const MAX_HEAD: usize = 64 * 1024;

/// Largest chunk that either side accepts, whatever the limit for bodies.
pub(crate) const MAX_CHUNK: u64 = i32::MAX as u64;

/// Fields that must not be trailers: they would change the head's framing, routing or authentication (RFC 9110 6.5.1).
pub(crate) const FORBIDDEN_TRAILERS: [&str; 10] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "trailer",
    "upgrade",
    "authorization",
    "proxy-authorization",
    "cookie",
    "expect",
];

/// Whether a response with this status never has a body (RFC 9110 6.4.1; 205 by section 15.3.6).
pub fn is_bodyless(status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 205 | 304)
}

/// A number of digits only, at least one of them, up to `max`.
pub(crate) fn decimal(digits: &[u8], max: u64) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        let n = n.checked_mul(10)?.checked_add(digit)?;
        (n <= max).then_some(n)
    })
}

/// `value` without leading and trailing blanks.
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = value {
        value = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// Bytes per body that size lines may have besides sizes: extensions, and digits beyond the eight of the largest size.
pub(crate) const MAX_EXTENSIONS: usize = 16 * 1024;

/// Hexadecimal digits of the largest chunk size: neither side accepts more than 31 bits.
pub(crate) const SIZE_DIGITS: usize = 8;

/// The position of the last byte in a chunk extension.
///
/// ```text
/// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
/// ```
///
/// No extension has a meaning here, but bytes that another parser could read differently must not be accepted (RFC 9112
/// 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// At its semicolon, or in a blank after that.
    Start,
    Name,
    /// In a blank after the name.
    NameEnd,
    /// At the equals sign, or in a blank after that.
    Equals,
    Value,
    Quoted,
    /// At a backslash between quotes.
    Escape,
    /// At the closing quote.
    QuotedEnd,
    /// In a blank after the value.
    ValueEnd,
}

impl Extension {
    /// The position of byte `b`, which is neither CR nor LF; `None` if it is not allowed there.
    pub(crate) fn next(self, b: u8) -> Option<Extension> {
        use Extension::*;
        let blank = matches!(b, b' ' | b'\t');
        let place = match self {
            Start | Equals if blank => self,
            Start | Name if is_token(b) => Name,
            Name | NameEnd if blank => NameEnd,
            Name | NameEnd if b == b'=' => Equals,
            Equals if b == b'"' => Quoted,
            Equals | Value if is_token(b) => Value,
            Quoted if b == b'"' => QuotedEnd,
            Quoted if b == b'\\' => Escape,
            Quoted | Escape if is_text(b) => Quoted,
            Value | QuotedEnd | ValueEnd if blank => ValueEnd,
            Name | NameEnd | Value | QuotedEnd | ValueEnd if b == b';' => Start,
            _ => return None,
        };
        Some(place)
    }

    /// Whether the line may end here.
    pub(crate) fn may_end(self) -> bool {
        use Extension::*;
        matches!(self, Name | Value | QuotedEnd)
    }

    /// Whether `text`, all of a size line from its first semicolon on, is well formed.
    pub(crate) fn fits(text: &[u8]) -> bool {
        let place = text
            .iter()
            .try_fold(Extension::ValueEnd, |at, &b| at.next(b));
        text.is_empty() || place.is_some_and(Extension::may_end)
    }
}

/// A byte allowed between quotes, and in a field's value: no control character except TAB.
pub(crate) fn is_text(b: u8) -> bool {
    b == b'\t' || b >= b' ' && b != 0x7f
}
