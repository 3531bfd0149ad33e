//! What a WebSocket message costs to decode, by size and by how it arrives.
//!
//! cargo bench -p httpkit-core --bench ws
//!
//! Prints the best of five: ns per message and MB of payload per second.

use httpkit_core::ws::Decoder;
use std::hint::black_box;
use std::time::Instant;

const MAX: u64 = 4 << 20;
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

fn main() {
    report("text 32 B, whole", &frame(1, 32, true), 32, 1 << 20);
    // A chat over a slow link: a cut in every frame, so no fast path.
    report("text 32 B, in 7 byte reads", &frame(1, 32, true), 32, 7);
    report("binary 4 KB, whole", &frame(2, 4096, true), 4096, 1 << 20);
    report("text 4 KB, whole", &frame(1, 4096, true), 4096, 1 << 20);
    report(
        "binary 1 MB, 64 KB reads",
        &frame(2, 1 << 20, true),
        1 << 20,
        1 << 16,
    );
    report(
        "text 1 MB, 64 KB reads",
        &frame(1, 1 << 20, true),
        1 << 20,
        1 << 16,
    );
    // The cost must stay linear in the number of fragments, see Message::reserve.
    report(
        "binary 64 KB, 1 byte fragments",
        &fragments(1 << 16),
        1 << 16,
        1 << 16,
    );
}

fn frame(opcode: u8, len: usize, last: bool) -> Vec<u8> {
    let mut bytes = vec![u8::from(last) << 7 | opcode];
    match len {
        0..126 => bytes.push(0x80 | len as u8),
        126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&MASK);
    bytes.extend((0..len).map(|i| b'x' ^ MASK[i % 4]));
    bytes
}

fn fragments(len: usize) -> Vec<u8> {
    let mut bytes = frame(2, 1, false);
    for i in 1..len {
        bytes.extend(frame(0, 1, i == len - 1));
    }
    bytes
}

/// Decodes `message` over and over, in pieces of `read` bytes.
fn report(name: &str, message: &[u8], payload: usize, read: usize) {
    let rounds = (1 << 26) / (message.len() + 2000);
    let best = (0..5)
        .map(|_| time(message, read, rounds))
        .fold(f64::MAX, f64::min);
    let speed = payload as f64 / best * 1e3;
    println!("{name:32} {best:12.0} ns {speed:10.0} MB/s");
}

/// Nanoseconds per message.
fn time(message: &[u8], read: usize, rounds: usize) -> f64 {
    let mut decoder = Decoder::new(MAX);
    let start = Instant::now();
    for _ in 0..rounds {
        let mut events = 0;
        for piece in message.chunks(read) {
            let (_, event) = decoder.decode(black_box(piece)).expect("right frames");
            events += usize::from(black_box(event).is_some());
        }
        assert_eq!(events, 1);
    }
    start.elapsed().as_nanos() as f64 / rounds as f64
}
