//! The compressors of all streams and bodies, which are few, and what they did last.
//!
//! A stream's next piece depends on the end of its text so far, on the piece, and on nothing else. So streams that
//! have been sent the same for a while need one compression for all of them, share its bytes, and share the end of
//! their text. At the usual level, `quick` codes from what a stream remembers. At others a compressor that still stands
//! where a stream is goes on from there; any other is first given that end, which takes longer than a short piece.

use std::collections::VecDeque;
use std::sync::Arc;

use flate2::{Compress, Compression, FlushCompress, Status};
use parking_lot::Mutex;

use super::quick::Past;
use super::types::Gzip;

/// An empty last block.
pub(super) const LAST_BLOCK: &[u8] = &[3, 0];
/// Most bytes of a stored block.
const STORED: usize = 0xffff;
/// The largest window. Long texts, which refer to themselves, get it whatever a stream remembers.
const FULL_WINDOW: u8 = 15;
const LONG: usize = 16 * 1024;
/// The level at which a stream's pieces need no compressor.
const QUICK: u8 = 1;
/// Most idle compressors: more threads than this rarely compress at the same time, and they take some 230 KB each.
const ENGINES: usize = 8;
/// Most pieces that are remembered, and most bytes of them.
const PIECES: usize = 8;
const PIECES_SIZE: usize = 2 * 1024 * 1024;

/// What a stream remembers, with others that were sent the same.
pub(super) type History = Arc<Past>;

struct Engine {
    compress: Compress,
    window_bits: u8,
    /// How it has coded the stream whose text ends with this, if it can go on with that.
    stands_at: Option<(Gzip, History)>,
}

/// What became of a piece of a stream.
struct Coded {
    how: Gzip,
    before: History,
    text: Vec<u8>,
    bytes: Arc<Vec<u8>>,
    after: History,
}

/// The last used ones at the end.
static IDLE: Mutex<Vec<Engine>> = Mutex::new(Vec::new());
static RECENT: Mutex<VecDeque<Coded>> = Mutex::new(VecDeque::new());

/// A piece behind a text that ends with `before`, ended by a sync flush, and how the text ends then. At level 0 it is
/// not compressed, which takes no compressor.
pub(super) fn piece(how: Gzip, before: &History, text: &[u8]) -> (Arc<Vec<u8>>, History) {
    if let Some(known) = recent(how, before, text) {
        return known;
    }
    let (bytes, after) = code(how, before, text);
    let bytes = Arc::new(bytes);
    remember(Coded {
        how,
        before: before.clone(),
        text: text.to_vec(),
        bytes: bytes.clone(),
        after: after.clone(),
    });
    (bytes, after)
}

fn code(how: Gzip, before: &History, text: &[u8]) -> (Vec<u8>, History) {
    let mut bytes = Vec::new();
    let bits = how.window_bits;
    let after = match how.level {
        0 => {
            store(text, false, &mut bytes);
            before.after(text, bits)
        }
        QUICK if text.len() < LONG => {
            let after = before.code(text, bits, &mut bytes);
            if bytes.len() > text.len() + LAST_BLOCK.len() {
                bytes.clear();
                store(text, false, &mut bytes);
            }
            after
        }
        _ => before.after(text, bits),
    };
    let after = Arc::new(after);
    if bytes.is_empty() {
        compress(
            how,
            before,
            text,
            FlushCompress::Sync,
            Some(&after),
            &mut bytes,
        );
    }
    bytes.shrink_to_fit();
    (bytes, after)
}

/// Appends a whole text.
pub(super) fn whole(level: u8, text: &[u8], out: &mut Vec<u8>) {
    let how = Gzip {
        level,
        window_bits: FULL_WINDOW,
    };
    compress(
        how,
        &History::default(),
        text,
        FlushCompress::Finish,
        None,
        out,
    );
}

fn recent(how: Gzip, before: &History, text: &[u8]) -> Option<(Arc<Vec<u8>>, History)> {
    let recent = RECENT.lock();
    let known = recent
        .iter()
        .find(|known| known.how == how && known.text == text && is_same(&known.before, before))?;
    Some((known.bytes.clone(), known.after.clone()))
}

fn remember(coded: Coded) {
    let size = |coded: &Coded| coded.text.len() + coded.bytes.len();
    if size(&coded) > PIECES_SIZE {
        return;
    }
    let mut recent = RECENT.lock();
    recent.push_front(coded);
    while recent.len() > PIECES || recent.iter().map(size).sum::<usize>() > PIECES_SIZE {
        recent.pop_back();
    }
}

fn is_same(one: &History, other: &History) -> bool {
    Arc::ptr_eq(one, other) || one == other
}

/// `after`: the stream goes on, and its text then ends with this.
fn compress(
    how: Gzip,
    before: &History,
    text: &[u8],
    flush: FlushCompress,
    after: Option<&History>,
    out: &mut Vec<u8>,
) {
    let window_bits = match text.len() {
        0..LONG => how.window_bits,
        _ => FULL_WINDOW,
    };
    let mut engine = engine(window_bits, how, before);
    let start = out.len();
    if run(&mut engine, how, before, text, flush, out).is_none() {
        // It never fails; if it did, this would still be the text.
        out.truncate(start);
        return store(text, matches!(flush, FlushCompress::Finish), out);
    }
    // With a larger window it might refer to what other streams with the same end do not have.
    engine.stands_at = after
        .filter(|_| window_bits == how.window_bits)
        .map(|after| (how, after.clone()));
    let mut idle = IDLE.lock();
    if idle.len() >= ENGINES {
        idle.remove(0);
    }
    idle.push(engine);
}

/// One that stands behind `before`, else one that must be given it.
fn engine(window_bits: u8, how: Gzip, before: &History) -> Engine {
    let stands = |engine: &Engine| match &engine.stands_at {
        Some((its, at)) => *its == how && is_same(at, before),
        None => false,
    };
    let mut idle = IDLE.lock();
    let found = idle
        .iter()
        .position(|engine| engine.window_bits == window_bits && stands(engine));
    if let Some(found) = found {
        return idle.remove(found);
    }
    let other = match idle.len() {
        ENGINES.. => idle
            .iter()
            .position(|engine| engine.window_bits == window_bits),
        // As long as there may be more, none forgets where it stands.
        _ => idle
            .iter()
            .position(|engine| engine.window_bits == window_bits && engine.stands_at.is_none()),
    };
    let other = other.map(|other| idle.remove(other));
    drop(idle);
    let mut engine = other.unwrap_or_else(|| Engine {
        compress: Compress::new_with_window_bits(
            Compression::new(how.level.into()),
            false,
            window_bits,
        ),
        window_bits,
        stands_at: None,
    });
    engine.stands_at = None;
    engine
}

/// Returns None if it fails.
fn run(
    engine: &mut Engine,
    how: Gzip,
    before: &Past,
    text: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Option<()> {
    let compress = &mut engine.compress;
    if engine.stands_at.is_none() {
        compress.reset();
        compress
            .set_level(Compression::new(how.level.into()))
            .ok()?;
        if !before.text().is_empty() {
            compress.set_dictionary(before.text()).ok()?;
        }
    }
    let start = compress.total_in();
    loop {
        let used = (compress.total_in() - start) as usize;
        out.reserve((text.len() - used) / 3 + 64);
        let status = compress.compress_vec(&text[used..], out, flush).ok()?;
        let whole = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            // If room is left over, the compressor holds no more output.
            _ => (compress.total_in() - start) as usize == text.len() && out.len() < out.capacity(),
        };
        if whole {
            return Some(());
        }
    }
}

/// Blocks without compression. They must begin at a byte's first bit.
pub(super) fn store(text: &[u8], last: bool, out: &mut Vec<u8>) {
    let mut pieces = text.chunks(STORED).peekable();
    while let Some(piece) = pieces.next() {
        let length = piece.len() as u16;
        out.push(u8::from(last && pieces.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(piece);
    }
    if last && text.is_empty() {
        out.extend_from_slice(LAST_BLOCK);
    }
}
