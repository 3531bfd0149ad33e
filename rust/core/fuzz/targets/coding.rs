//! Content codings: no panic, and the same bytes however input and output are cut.

use httpkit_core::client::{CallError, Coding, Inflater};

/// More than that is a bomb, which is the caller's affair.
const MOST: usize = 1 << 20;

// The first byte is the size of the pieces; its lowest bit chooses the coding.
pub fn run(data: &[u8]) {
    let Some((&size, coded)) = data.split_first() else {
        return;
    };
    let coding = match size & 1 {
        0 => Coding::Gzip,
        _ => Coding::Deflate,
    };
    let size = usize::from(size).max(1);
    let whole = decode(coding, coded, coded.len().max(1), 4096);
    assert_eq!(whole, decode(coding, coded, size, size));
}

fn decode(
    coding: Coding,
    coded: &[u8],
    step: usize,
    room: usize,
) -> Result<Option<Vec<u8>>, CallError> {
    let mut inflater = Inflater::new(coding);
    let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
    for mut piece in coded.chunks(step) {
        loop {
            let step = inflater.inflate(piece, &mut buffer)?;
            piece = &piece[step.consumed..];
            out.extend_from_slice(&buffer[..step.produced]);
            if out.len() > MOST {
                return Ok(None);
            }
            if step.produced < room {
                break;
            }
        }
    }
    inflater.finish().map(|()| Some(out))
}
