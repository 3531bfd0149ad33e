//! What HTTP says of bytes, for the server and the client.

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

/// Bytes per body that size lines may have beside sizes: extensions, and digits beyond the eight
/// that the largest size has.
pub(crate) const MAX_EXTENSIONS: usize = 16 * 1024;

/// Hexadecimal digits that a chunk's size needs: neither side takes larger ones than 31 bits.
pub(crate) const SIZE_DIGITS: usize = 8;

/// Where in a chunk extension the last byte stood.
///
/// ```text
/// chunk-ext = *( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )
/// ```
///
/// No extension means anything here, but what another parser could read in another way must not
/// pass (RFC 9112 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extension {
    /// At its semicolon, or in a blank behind that.
    Start,
    Name,
    /// In a blank behind the name.
    NameEnd,
    /// At the equals sign, or in a blank behind that.
    Equals,
    Value,
    Quoted,
    /// At a backslash between quotes.
    Escape,
    /// At the closing quote.
    QuotedEnd,
    /// In a blank behind the value.
    ValueEnd,
}

impl Extension {
    /// The place of byte `b`, which is neither CR nor LF; `None` if it must not stand there.
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

/// What may stand between quotes: no control character but TAB.
fn is_text(b: u8) -> bool {
    b == b'\t' || b >= b' ' && b != 0x7f
}
