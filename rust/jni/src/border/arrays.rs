//! Java's byte arrays, copied in and out.
//!
//! Always copied, never pinned: a pinned array would block the collector while a socket is slow.

use std::alloc::{Layout, alloc_zeroed};
use std::cell::RefCell;

use jni::Env;
use jni::objects::JByteArray;
use jni::sys::jint;

use super::error::{BridgeError, Result, number};

/// Size of the buffer through which arrays are copied: small enough for the processor's cache, and large enough that a
/// body of a megabyte takes only a few system calls.
const PIECE: usize = 256 * 1024;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn array<'local>(
    env: &mut Env<'local>,
    block: Option<Vec<u8>>,
) -> Result<JByteArray<'local>> {
    match block {
        Some(block) => array_of(env, &block),
        None => Ok(JByteArray::null()),
    }
}

pub(crate) fn array_of<'local>(env: &mut Env<'local>, block: &[u8]) -> Result<JByteArray<'local>> {
    let len = size_of_array(block.len())?;
    // The safe layer checks for pending exceptions before and after each call, and each check costs as much as the
    // call. Here none can be pending before, and null indicates one after.
    let raw = env.get_raw();
    // SAFETY: `env` is this thread's, no exception is pending, and `len` is not negative. The array
    // that comes back is a local reference of this frame, exactly as long as `block`.
    unsafe {
        let new = ((**raw).v1_1.NewByteArray)(raw, len);
        if new.is_null() {
            return Err(jni::errors::Error::JavaException.into());
        }
        ((**raw).v1_1.SetByteArrayRegion)(raw, new, 0, len, block.as_ptr().cast());
        Ok(JByteArray::from_raw(env, new))
    }
}

pub(crate) fn size_of_array(len: usize) -> Result<jint> {
    jint::try_from(len).map_err(|_| BridgeError::State(format!("{len} bytes are too many")))
}

/// Makes `buffer` at least `len` long. A vector that grows by itself doubles: a thread would keep up to two pieces.
fn make_room(buffer: &mut Vec<u8>, len: usize) -> Result<()> {
    if buffer.len() < len {
        let size = match len {
            ..=PIECE => len.next_power_of_two().max(4096),
            _ => len,
        };
        buffer
            .try_reserve_exact(size - buffer.len())
            .map_err(|_| no_memory(len))?;
        buffer.resize(size, 0);
    }
    Ok(())
}

/// Users choose how large their arrays are: one for which the process has no memory must not end it, as failed
/// allocations do otherwise.
fn zeroed(len: usize) -> Result<Vec<u8>> {
    if len == 0 {
        return Ok(Vec::new());
    }
    let layout = Layout::array::<u8>(len).map_err(|_| no_memory(len))?;
    // SAFETY: the layout is that of `len` bytes, and not empty. The allocation is that of a vector of this capacity, all
    // of it initialised.
    unsafe {
        let start = alloc_zeroed(layout);
        match start.is_null() {
            true => Err(no_memory(len)),
            false => Ok(Vec::from_raw_parts(start, len, len)),
        }
    }
}

fn no_memory(len: usize) -> BridgeError {
    BridgeError::State(format!("no native memory for a copy of {len} bytes"))
}

/// Runs `f` on copies of a part of `array`, at most [`PIECE`] bytes at a time, until the end or until `f` returns
/// false. An empty part is one empty piece.
pub(crate) fn in_pieces(
    env: &mut Env<'_>,
    array: &JByteArray<'_>,
    (mut start, len): (usize, usize),
    mut f: impl FnMut(&[u8]) -> bool,
) -> Result<()> {
    let end = start + len;
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            let size = (end - start).min(PIECE);
            make_room(buffer, size)?;
            copy(env, array, start, &mut buffer[..size])?;
            start += size;
            if !f(&buffer[..size]) || start >= end {
                return Ok(());
            }
        }
    })
}

pub(crate) fn copy(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: usize,
    to: &mut [u8],
) -> Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    let start = number(start, "start")?;
    let len = size_of_array(to.len())?;
    if array.is_null() {
        return Err(jni::errors::Error::NullPtr("a byte array").into());
    }
    // As in [`array_of`], but the array may be too short: then an exception is pending afterwards.
    let raw = env.get_raw();
    // SAFETY: `env` is this thread's, no exception is pending, `array` is not null, and `to` has room for `len` bytes.
    // Java checks the array's bounds. What it then throws is cleared before the next call.
    unsafe {
        let to = to.as_mut_ptr().cast();
        ((**raw).v1_1.GetByteArrayRegion)(raw, array.as_raw(), start, len, to);
        if ((**raw).v1_2.ExceptionCheck)(raw) {
            ((**raw).v1_1.ExceptionClear)(raw);
            return Err(jni::errors::Error::IndexOutOfBounds.into());
        }
    }
    Ok(())
}

pub(crate) fn bytes(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: jint,
    len: jint,
) -> Result<Vec<u8>> {
    bytes_of(env, array, size(start)?, size(len)?)
}

/// As [`bytes`]; empty for a null array.
pub(crate) fn bytes_or_none(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: jint,
    len: jint,
) -> Result<Vec<u8>> {
    match array.is_null() {
        true => Ok(Vec::new()),
        false => bytes(env, array, start, len),
    }
}

pub(crate) fn bytes_of(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: usize,
    len: usize,
) -> Result<Vec<u8>> {
    // Reserve nothing for bytes that are not there.
    if array.len(env)? < start.saturating_add(len) {
        return Err(BridgeError::Argument(format!(
            "no {len} bytes from {start} on in the array"
        )));
    }
    let mut bytes = zeroed(len)?;
    copy(env, array, start, &mut bytes)?;
    Ok(bytes)
}

pub(crate) fn size(n: jint) -> Result<usize> {
    usize::try_from(n).map_err(|_| BridgeError::Argument(format!("size {n} is negative")))
}

/// Copies what `fill` has written, whose length it returns, into a part of `array` of at most `len` bytes.
pub(crate) fn fill(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: usize,
    len: usize,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> Result<()> {
    // Bytes that were taken could not be put back.
    if array.len(env)? < start.saturating_add(len) {
        return Err(BridgeError::Argument(format!(
            "no room for {len} bytes from {start} on in the array"
        )));
    }
    BUFFER.with_borrow_mut(|buffer| {
        make_room(buffer, len)?;
        let written = fill(&mut buffer[..len]).min(len);
        if written == 0 {
            return Ok(());
        }
        // SAFETY: `u8` and `i8` have the same size, alignment and valid values.
        let from = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<i8>(), written) };
        let start = number(start, "start")?;
        Ok(array.set_region(env, start, from)?)
    })
}

/// Like [`in_pieces`] for the start of an array, in one piece.
pub(crate) fn in_buffer<R>(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    len: usize,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    in_buffer_with(env, array, len, 0, |bytes, _| Ok(f(bytes)))
}

/// As [`in_buffer`], with `more` bytes of any content, for `f` to fill.
pub(crate) fn in_buffer_with<R>(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    len: usize,
    more: usize,
    f: impl FnOnce(&[u8], &mut [u8]) -> Result<R>,
) -> Result<R> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len + more {
            // Reserve nothing for bytes that are not there.
            if array.len(env)? < len {
                return Err(BridgeError::Argument(format!(
                    "no {len} bytes in the array"
                )));
            }
            make_room(buffer, len + more)?;
        }
        let (bytes, rest) = buffer.split_at_mut(len);
        copy(env, array, 0, bytes)?;
        let result = f(bytes, &mut rest[..more]);
        if buffer.len() > PIECE {
            *buffer = Vec::new();
        }
        result
    })
}
