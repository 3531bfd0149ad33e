//! Chunked bodies: no panic, memory within what was received, and the same outcome however the
//! bytes are cut.

use httpkit_core::h1::{ChunkedDecoder, Limits, Violation};

type Decoded = (Vec<u8>, Vec<Vec<u8>>, usize, bool);

// The first byte is the size of the reads.
pub fn run(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = decode(stream, stream.len().max(1));
    assert_eq!(whole, decode(stream, usize::from(size).max(1)));
    if let Ok((body, trailers, used, _)) = whole {
        assert!(body.len() + trailers.concat().len() <= used && used <= stream.len());
    }
}

fn decode(stream: &[u8], size: usize) -> Result<Decoded, Violation> {
    let limits = Limits {
        line: 100,
        head: 300,
        body: 500,
        fields: 10,
        ..Limits::default()
    };
    let mut decoder = ChunkedDecoder::new(&limits, 50, 3);
    let (mut body, mut used, mut done) = (Vec::new(), 0, false);
    for piece in stream.chunks(size) {
        let (n, complete) = decoder.decode(piece, &mut body)?;
        assert!(complete || n == piece.len());
        (used, done) = (used + n, complete);
        if done {
            break;
        }
    }
    assert!(body.len() <= 500);
    let (bytes, trailers) = decoder.trailers();
    assert!(trailers.len() + 3 <= limits.fields);
    let spans = trailers.iter().flat_map(|t| [t.name, t.value]);
    Ok((
        body,
        spans.map(|s| s.of(bytes).to_vec()).collect(),
        used,
        done,
    ))
}
