//! Request heads: no panic, spans within the buffer, and the same outcome however the bytes
//! are cut.

use httpkit_core::h1::{HeadParser, Limits, RequestHead, Violation};

// The first byte is the size of the reads.
pub fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        line: 200,
        head: 1000,
        body: 100,
        fields: 20,
        ..Limits::default()
    };
    let whole = parse(stream, stream.len().max(1), &limits);
    let pieces = parse(stream, usize::from(size).max(1), &limits);
    assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
    if let Ok(Some(head)) = whole {
        check(&head, stream, &limits);
    }
}

fn parse(stream: &[u8], size: usize, limits: &Limits) -> Result<Option<RequestHead>, Violation> {
    let (mut parser, mut head) = (HeadParser::new(), RequestHead::default());
    let mut end = 0;
    while end < stream.len() {
        end = (end + size).min(stream.len());
        if parser.parse(&stream[..end], limits, &mut head)? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn check(head: &RequestHead, stream: &[u8], limits: &Limits) {
    assert!(head.len <= stream.len() && head.len <= limits.head);
    assert!(head.headers.len() <= limits.fields);
    let bytes = &stream[..head.len];
    assert!(bytes.ends_with(b"\r\n\r\n"));
    assert!(!head.method.of(bytes).is_empty() && !head.target.of(bytes).is_empty());
    if let Some(authority) = head.authority {
        let name = authority.name.of(bytes);
        assert!(!name.is_empty());
        let marks = b"-._~!$&'()*+,;=:%[]";
        assert!(
            name.iter()
                .all(|b| b.is_ascii_alphanumeric() || marks.contains(b))
        );
    }
    for header in &head.headers {
        assert!(!header.name.of(bytes).is_empty());
        assert_eq!(header.value.of(bytes).len(), header.value.len());
        assert!(
            !header
                .value
                .of(bytes)
                .iter()
                .any(|b| matches!(b, b'\r' | b'\n' | 0))
        );
    }
}
