//! Content sent from Java's byte arrays, and where it is kept until a peer reads it.
//!
//! A response's body stays in its array, from which pieces are copied as the socket accepts them, so an array sent to
//! many peers costs one array. It must not change, as in http-kit, which does not copy it either. Arrays sent on a
//! channel may change once the call has returned, so they are copied, once. In both cases, unread bytes are shared with
//! other peers that are sent the same content.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use httpkit_core::server::{Exchange, Kept, Payload, Responded, Source};
use jni::objects::JByteArray;
use jni::refs::Global;
use jni::sys::jint;
use jni::{Env, JavaVM};
use parking_lot::{Mutex, MutexGuard};

use crate::border::arrays::{bytes_of, copy, in_pieces, size};
use crate::border::error::{BridgeError, Result};
use crate::border::faults;

/// A body is copied, or what a peer has not taken of it, if it is shorter than this.
pub(super) const SHORT: usize = 32 * 1024;
/// Messages and chunks from this size on are shared.
pub(crate) const SHARED: usize = 128 * 1024;
/// From this size on, contents are compared and kept one at a time: otherwise two threads that send the same content
/// would not see each other's.
const ONE_BY_ONE: usize = 1024 * 1024;
/// How many of the latest unread bodies are compared with the next one.
const RECENT: usize = 4;
/// Contents are compared piece by piece; most that differ do so early.
const FIRST_STEP: usize = 4 * 1024;
const STEP: usize = 64 * 1024;

/// Arrays with unread bytes, for the leak tests.
static KEPT_ARRAYS: AtomicUsize = AtomicUsize::new(0);

static RECENT_ARRAYS: Recent<KeptArray> = Recent::new();
static RECENT_COPIES: Recent<Vec<u8>> = Recent::new();
static RECENT_CODED: Recent<Coded> = Recent::new();

pub(crate) fn kept_arrays() -> usize {
    KEPT_ARRAYS.load(Ordering::Relaxed)
}

/// A part of an array, a start and a length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

impl Part {
    pub(super) fn new(start: jint, len: jint) -> Result<Self> {
        let (start, len) = (size(start)?, size(len)?);
        Ok(Self { start, len })
    }
}

/// An array protected from the collector until its peers have read it or disconnected.
#[derive(Debug)]
struct KeptArray {
    vm: JavaVM,
    array: Global<JByteArray<'static>>,
    part: Part,
    /// No user code can reach it.
    owned: bool,
}

impl KeptArray {
    fn new(env: &Env<'_>, array: &JByteArray<'_>, part: Part, owned: bool) -> Result<Arc<Self>> {
        faults::point();
        let kept = Arc::new(Self {
            vm: env.get_java_vm()?,
            array: env.new_global_ref(array)?,
            part,
            owned,
        });
        KEPT_ARRAYS.fetch_add(1, Ordering::Relaxed);
        Ok(kept)
    }
}

impl Drop for KeptArray {
    fn drop(&mut self) {
        KEPT_ARRAYS.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Source for KeptArray {
    fn copy(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        // Loops and threads inside native methods write to sockets: all are Java threads.
        self.vm
            .with_top_local_frame(|env| copy(env, &self.array, self.part.start + at, to))
            .map_err(|e: BridgeError| io::Error::other(format!("cannot read an array: {e:?}")))
    }
}

/// The latest kept contents that are still in use.
struct Recent<T> {
    latest: Mutex<VecDeque<Weak<T>>>,
    one_by_one: Mutex<()>,
}

impl<T> Recent<T> {
    const fn new() -> Self {
        Self {
            latest: Mutex::new(VecDeque::new()),
            one_by_one: Mutex::new(()),
        }
    }

    /// To be held while a content of this length is compared with these and added.
    fn turn(&self, len: usize) -> Option<MutexGuard<'_, ()>> {
        (len >= ONE_BY_ONE).then(|| self.one_by_one.lock())
    }

    fn find(&self, is_same: impl Fn(&T) -> Result<bool>) -> Result<Option<Arc<T>>> {
        // Comparing takes time, so not under the lock.
        let recent: Vec<_> = self
            .latest
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for kept in recent {
            if is_same(&kept)? {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }

    fn add(&self, kept: &Arc<T>) {
        let mut recent = self.latest.lock();
        recent.retain(|kept| kept.strong_count() > 0);
        recent.truncate(RECENT - 1);
        recent.push_front(Arc::downgrade(kept));
    }
}

/// Cuts a connection unless its body was sent: its peer waits for it, and must see that it will not come.
struct Unsent<'a>(Option<&'a Exchange>);

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        if let Some(exchange) = self.0 {
            exchange.abort();
        }
    }
}

/// Sends the rest of a body, which is this part of an array; cuts the connection if that fails. `owned`: no user code
/// can reach the array.
pub(crate) fn write_body(
    env: &mut Env<'_>,
    exchange: &Exchange,
    array: &JByteArray<'_>,
    part: Part,
    flags: u32,
    owned: bool,
) -> Result<Responded> {
    let mut unsent = Unsent(Some(exchange));
    let outcome = send_part(env, exchange, array, part, flags, owned)?;
    unsent.0 = None;
    Ok(outcome)
}

fn send_part(
    env: &mut Env<'_>,
    exchange: &Exchange,
    array: &JByteArray<'_>,
    part: Part,
    flags: u32,
    owned: bool,
) -> Result<Responded> {
    let (mut sent, mut outcome) = (0, Responded::More);
    in_pieces(env, array, (part.start, part.len), |piece| {
        let taken;
        (taken, outcome) = exchange.offer_body(piece, flags);
        sent += taken;
        taken == piece.len() && matches!(outcome, Responded::More)
    })?;
    let left = part.len - sent;
    if !matches!(outcome, Responded::More) || left == 0 {
        return Ok(outcome);
    }
    if left < SHORT {
        let rest = bytes_of(env, array, part.start + sent, left)?;
        return Ok(exchange.send_body(&rest, flags));
    }
    let kept = Kept {
        source: keep(env, array, part, owned)?,
        at: sent,
        len: left,
    };
    Ok(exchange.send_rest(kept, flags))
}

fn keep(env: &Env<'_>, array: &JByteArray<'_>, part: Part, owned: bool) -> Result<Arc<KeptArray>> {
    if array.len(env)? < part.start + part.len {
        return Err(BridgeError::Argument(format!("no {part:?} in the array")));
    }
    if !owned {
        return KeptArray::new(env, array, part, owned);
    }
    let _turn = RECENT_ARRAYS.turn(part.len);
    let same = RECENT_ARRAYS.find(|kept| {
        let other = |at, to: &mut [u8]| copy(env, &kept.array, kept.part.start + at, to);
        Ok(kept.owned && kept.part.len == part.len && is_equal(env, array, part, other)?)
    })?;
    if let Some(same) = same {
        return Ok(same);
    }
    let kept = KeptArray::new(env, array, part, owned)?;
    RECENT_ARRAYS.add(&kept);
    Ok(kept)
}

/// A compressed body.
#[derive(Debug)]
struct Coded(Vec<u8>);

impl Source for Coded {
    fn copy(&self, at: usize, to: &mut [u8]) -> io::Result<()> {
        to.copy_from_slice(&self.0[at..at + to.len()]);
        Ok(())
    }

    fn is_native(&self) -> bool {
        true
    }
}

/// Sends a compressed body behind its head.
pub(crate) fn send_shared(exchange: &Exchange, body: Vec<u8>, flags: u32) -> Responded {
    let (sent, outcome) = exchange.offer_body(&body, flags);
    if !matches!(outcome, Responded::More) || sent == body.len() {
        return outcome;
    }
    if body.len() - sent < SHORT {
        return exchange.send_body(&body[sent..], flags);
    }
    let len = body.len() - sent;
    let kept = Kept {
        source: same_coded(body),
        at: sent,
        len,
    };
    exchange.send_rest(kept, flags)
}

fn same_coded(body: Vec<u8>) -> Arc<Coded> {
    let _turn = RECENT_CODED.turn(body.len());
    // Comparing these cannot fail.
    if let Ok(Some(same)) = RECENT_CODED.find(|kept| Ok(kept.0 == body)) {
        return same;
    }
    let kept = Arc::new(Coded(body));
    RECENT_CODED.add(&kept);
    kept
}

/// Runs `send` on a copy of a part of an array.
pub(crate) fn with_payload<R>(
    env: &mut Env<'_>,
    array: &JByteArray<'_>,
    part: Part,
    send: impl FnOnce(Payload<'_>) -> R,
) -> Result<R> {
    if part.len >= SHORT {
        return Ok(send(Payload::Shared(shared_copy(env, array, part)?)));
    }
    let mut send = Some(send);
    let mut result = None;
    in_pieces(env, array, (part.start, part.len), |piece| {
        result = send.take().map(|send| send(Payload::Borrowed(piece)));
        false
    })?;
    result.ok_or_else(|| BridgeError::State("nothing was copied".into()))
}

fn shared_copy(env: &Env<'_>, array: &JByteArray<'_>, part: Part) -> Result<Arc<Vec<u8>>> {
    if part.len < SHARED {
        return Ok(Arc::new(bytes_of(env, array, part.start, part.len)?));
    }
    let _turn = RECENT_COPIES.turn(part.len);
    let same = RECENT_COPIES.find(|kept| {
        let other = |at: usize, to: &mut [u8]| {
            to.copy_from_slice(&kept[at..at + to.len()]);
            Ok(())
        };
        Ok(kept.len() == part.len && is_equal(env, array, part, other)?)
    })?;
    if let Some(same) = same {
        return Ok(same);
    }
    let copied = Arc::new(bytes_of(env, array, part.start, part.len)?);
    RECENT_COPIES.add(&copied);
    Ok(copied)
}

/// Whether a part of an array equals the content that `other` copies from offset 0 on.
fn is_equal(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    part: Part,
    other: impl Fn(usize, &mut [u8]) -> Result<()>,
) -> Result<bool> {
    let (mut ours, mut theirs) = (vec![0; STEP], vec![0; STEP]);
    let mut at = 0;
    while at < part.len {
        let step = if at == 0 { FIRST_STEP } else { STEP };
        let n = step.min(part.len - at);
        copy(env, array, part.start + at, &mut ours[..n])?;
        other(at, &mut theirs[..n])?;
        if ours[..n] != theirs[..n] {
            return Ok(false);
        }
        at += n;
    }
    Ok(true)
}
