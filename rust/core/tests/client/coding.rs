//! Content codings.

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use httpkit_core::client::*;
use proptest::prelude::*;
use std::io::Write;
use std::time::{Duration, Instant};

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Decodes with pieces of input and room of the given sizes.
fn pieces(coding: Coding, input: &[u8], step: usize, room: usize) -> Result<Vec<u8>, CallError> {
    let mut inflater = Inflater::new(coding);
    let (mut out, mut buffer) = (Vec::new(), vec![0; room]);
    for mut piece in input.chunks(step) {
        loop {
            let step = inflater.inflate(piece, &mut buffer)?;
            piece = &piece[step.consumed..];
            out.extend_from_slice(&buffer[..step.produced]);
            if step.produced < room {
                assert!(piece.is_empty());
                break;
            }
        }
    }
    inflater.finish().map(|()| out)
}

fn decode(coding: Coding, input: &[u8]) -> Result<Vec<u8>, CallError> {
    let whole = decode_whole(coding, input, Ceilings::default());
    for (step, room) in [(1, 1), (1, 100), (3, 7), (1000, 1)] {
        assert_eq!(pieces(coding, input, step, room), whole);
    }
    whole
}

fn filter(most: u64) -> Ceilings {
    Ceilings {
        filter: Some(most),
        ..Ceilings::default()
    }
}

fn failed(kind: ErrorKind, message: &'static str) -> Result<Vec<u8>, CallError> {
    Err(CallError::new(kind, message))
}

const CUT: &str = "Unexpected end of ZLIB input stream";

#[test]
fn names_are_known_in_any_case_and_lists_are_not() {
    for name in ["gzip", "x-gzip", "GZIP"] {
        assert_eq!(Coding::of(name.as_bytes()), Some(Coding::Gzip));
    }
    for name in ["deflate", "X-Deflate"] {
        assert_eq!(Coding::of(name.as_bytes()), Some(Coding::Deflate));
    }
    for name in ["br", "zstd", "gzip, gzip", "identity", ""] {
        assert_eq!(Coding::of(name.as_bytes()), None);
    }
}

#[test]
fn gzip_members_are_read_whole() {
    let two = [gzip(b"hello"), gzip(b" world")].concat();
    assert_eq!(decode(Coding::Gzip, &two).unwrap(), b"hello world");
    let garbage = [gzip(b"hello"), b"trailing garbage".to_vec()].concat();
    assert_eq!(decode(Coding::Gzip, &garbage).unwrap(), b"hello");
    assert_eq!(decode(Coding::Gzip, b"").unwrap(), b"");
}

#[test]
fn gzip_headers_may_carry_everything() {
    let plain = gzip(b"hello");
    let mut full = vec![0x1f, 0x8b, 8, 2 | 4 | 8 | 16, 0, 0, 0, 0, 0, 3];
    full.extend(b"\x05\x00extra");
    full.extend(b"name\0comment\0");
    let mut sum = flate2::Crc::new();
    sum.update(&full);
    full.extend((sum.sum() as u16).to_le_bytes());
    full.extend(&plain[10..]);
    assert_eq!(decode(Coding::Gzip, &full).unwrap(), b"hello");
    full[4] ^= 1;
    assert_eq!(
        decode(Coding::Gzip, &full),
        failed(ErrorKind::Zip, "Corrupt GZIP header")
    );
}

#[test]
fn deflate_is_zlib_or_raw_by_its_first_bytes() {
    for data in [&b"hello"[..], b"", &[7; 100_000]] {
        assert_eq!(decode(Coding::Deflate, &zlib(data)).unwrap(), data);
        assert_eq!(decode(Coding::Deflate, &deflate(data)).unwrap(), data);
    }
}

#[test]
fn a_long_name_in_pieces_of_one_byte_is_read_once() {
    let named = GzBuilder::new().filename(vec![b'n'; 1 << 20]);
    let mut encoder = named.write(Vec::new(), Compression::default());
    encoder.write_all(b"data").unwrap();
    let start = Instant::now();
    let whole = pieces(Coding::Gzip, &encoder.finish().unwrap(), 1, 100);
    assert_eq!(whole.unwrap(), b"data");
    // Reading it again with each byte takes minutes.
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn corrupt_input_is_refused() {
    use ErrorKind::{Eof, Zip};
    let whole = gzip(b"hello");
    assert_eq!(
        decode(Coding::Gzip, b"notgzip"),
        failed(Zip, "Not in GZIP format")
    );
    assert_eq!(
        decode(Coding::Gzip, b"\x1f\x8b\x07"),
        failed(Zip, "Unsupported compression method")
    );
    for cut in 1..whole.len() {
        assert_eq!(decode(Coding::Gzip, &whole[..cut]), failed(Eof, CUT));
    }
    let mut sum = whole.clone();
    let at = sum.len() - 5;
    sum[at] ^= 1;
    assert_eq!(
        decode(Coding::Gzip, &sum),
        failed(Zip, "Corrupt GZIP trailer")
    );
    let mut data = whole;
    data[10] = 0xff;
    assert_eq!(
        decode(Coding::Gzip, &data),
        failed(Zip, "Corrupt deflate data")
    );
    assert_eq!(
        decode(Coding::Deflate, &zlib(b"hello")[..6]),
        failed(Eof, CUT)
    );
    assert_eq!(decode(Coding::Deflate, b"x"), failed(Eof, CUT));
}

#[test]
fn what_comes_before_a_fault_is_decoded_first_however_the_input_is_cut() {
    let mut sum = gzip(b"hello");
    let at = sum.len() - 5;
    sum[at] ^= 1;
    let mut data = gzip(b"hello");
    data.truncate(10);
    data.push(0xff);
    let two = [gzip(b"first, "), data.clone()].concat();
    for (coded, decoded, message) in [
        (sum, &b"hello"[..], "Corrupt GZIP trailer"),
        (data, b"", "Corrupt deflate data"),
        (two, b"first, ", "Corrupt deflate data"),
    ] {
        let mut inflater = Inflater::new(Coding::Gzip);
        let mut buffer = [0; 100];
        let step = inflater.inflate(&coded, &mut buffer).unwrap();
        assert_eq!(&buffer[..step.produced], decoded);
        assert!(inflater.header_read());
        let fault = CallError::new(ErrorKind::Zip, message);
        assert_eq!(inflater.check(), Err(fault.clone()));
        assert_eq!(inflater.inflate(b"more", &mut buffer), Err(fault.clone()));
        assert_eq!(inflater.finish(), Err(fault));
    }
    let oversized = [
        gzip(&[0; 10_000]),
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xff".to_vec(),
    ]
    .concat();
    assert_eq!(
        decode_whole(Coding::Gzip, &oversized, filter(5000)),
        failed(
            ErrorKind::Abort,
            "Rejected when decompressing body, length: 8192"
        )
    );
}

#[test]
fn a_bomb_is_refused_at_its_limit() {
    let bomb = gzip(&vec![0; 50_000_000]);
    assert_eq!(
        decode_whole(Coding::Gzip, &bomb, filter(100)),
        failed(
            ErrorKind::Abort,
            "Rejected when decompressing body, length: 4096"
        )
    );
    let fits = gzip(&[0; 100]);
    assert_eq!(
        decode_whole(Coding::Gzip, &fits, filter(100))
            .unwrap()
            .len(),
        100
    );
}

proptest! {
    #[test]
    fn what_was_coded_comes_back(
        data in proptest::collection::vec(any::<u8>(), 0..2000),
        step in 1usize..300,
        room in 1usize..300,
    ) {
        prop_assert_eq!(&pieces(Coding::Gzip, &gzip(&data), step, room).unwrap(), &data);
        prop_assert_eq!(&pieces(Coding::Deflate, &zlib(&data), step, room).unwrap(), &data);
        prop_assert_eq!(&pieces(Coding::Deflate, &deflate(&data), step, room).unwrap(), &data);
    }

    #[test]
    fn any_bytes_end_in_data_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..300)) {
        for coding in [Coding::Gzip, Coding::Deflate] {
            let _ = decode_whole(coding, &data, filter(1 << 20));
            let mut gz = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0];
            gz.extend(&data);
            let _ = decode_whole(coding, &gz, filter(1 << 20));
        }
    }
}
