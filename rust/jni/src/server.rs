//! The server's native methods: conversions around `httpkit_core::server`.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;
use std::sync::Arc;
use std::time::Duration;

use httpkit_core::h1::Limits;
use httpkit_core::h1::proxy::ProxyMode;
use httpkit_core::server::queue::{Mode, Work};
use httpkit_core::server::{
    Address, Answered, Config, Event, Exchange, INLINE, Interest, Notice, Pings, Reply, Sent,
    Server, Sink,
};
use httpkit_core::ws::Opcode;
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray, JObject};
use jni::sys::{jboolean, jint, jlong};

use crate::abi;
use crate::error::BridgeError;
use crate::faults;
use crate::handle::HandleTable;
use crate::upcalls::ServerUpcalls;

pub(crate) static SERVERS: HandleTable<Arc<Server>> = HandleTable::new();
pub(crate) static EXCHANGES: HandleTable<Exchange> = HandleTable::new();

/// Arrays are copied through a buffer of this size, which stays in the processor's cache.
const PIECE: usize = 64 * 1024;

/// What a body or message may have at most, so that it fits into one array with all that comes
/// with it: Java's arrays end at 2^31.
const MAX_CONTENT: u64 = (1 << 31) - (1 << 24);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

type Result<T> = std::result::Result<T, BridgeError>;

impl Sink for ServerUpcalls {
    fn on_work(&self, work: Vec<Work>) {
        let handovers: Vec<_> = work.iter().map(Handover::of).collect();
        faults::point();
        let blocks: Vec<_> = work.into_iter().filter_map(block).collect();
        self.on_work(&blocks, || {
            handovers.into_iter().for_each(Handover::arrived)
        });
    }

    fn on_starved(&self, waiting: usize) {
        faults::point();
        self.on_starved(waiting);
    }

    fn on_drained(&self, name: i64) {
        faults::point();
        self.on_drained(name);
    }

    fn on_notice(&self, notice: Notice) {
        faults::point();
        match notice {
            Notice::Violation(v) => {
                self.on_notice(abi::NOTICE_VIOLATION, i32::from(v.status()), v.message());
            }
            Notice::Frame { code, message } => {
                self.on_notice(abi::NOTICE_FRAME, i32::from(code), &message);
            }
            Notice::RequestRefused => self.on_notice(abi::NOTICE_REQUEST_REFUSED, 503, ""),
            Notice::EventsRefused => self.on_notice(abi::NOTICE_EVENTS_REFUSED, 0, ""),
            Notice::Accept(message) => self.on_notice(abi::NOTICE_ACCEPT, 0, &message),
            Notice::LoopError(message) => self.on_notice(abi::NOTICE_LOOP, 0, &message),
        }
    }
}

/// Work on its way to Java. What does not get there, because of a panic or for want of memory for
/// its array, is cut off, so that no peer waits for an answer that nobody will give.
struct Handover(Option<Exchange>);

impl Handover {
    fn of(work: &Work) -> Self {
        Self(Some(match work {
            Work::Request(request) => request.exchange.clone(),
            Work::Events(exchange) => exchange.clone(),
        }))
    }

    fn arrived(mut self) {
        self.0 = None;
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        if let Some(exchange) = &self.0 {
            // Ends the chain of events, if this was part of one, so that the closing begins a new one.
            while events_block(exchange).is_some() {}
            exchange.abort();
        }
    }
}

/// The array in which work crosses; `None` when it is over before it began.
fn hand_over<'local>(env: &mut Env<'local>, work: Work) -> Result<Option<JByteArray<'local>>> {
    let handover = Handover::of(&work);
    let Some(block) = block(work) else {
        handover.arrived();
        return Ok(None);
    };
    let array = array(env, Some(block))?;
    handover.arrived();
    Ok(Some(array))
}

/// The block of bytes in which work crosses; `None` when it is over before it began.
fn block(work: Work) -> Option<Vec<u8>> {
    match work {
        Work::Request(request) => {
            let handle = EXCHANGES.insert(request.exchange.clone());
            if request.exchange.bind(handle) {
                return Some(request.into_block(handle));
            }
            EXCHANGES.remove(handle);
            None
        }
        Work::Events(exchange) => events_block(&exchange),
    }
}

fn events_block(exchange: &Exchange) -> Option<Vec<u8>> {
    let events = exchange.take_events();
    if events.is_empty() {
        return None;
    }
    let handle = exchange.name();
    let mut block = Vec::with_capacity(64);
    block.extend_from_slice(&handle.to_le_bytes());
    block.push(abi::KIND_EVENTS);
    for event in &events {
        let (kind, code, bytes): (u8, Option<i32>, &[u8]) = match event {
            Event::Text(bytes) => (abi::EVENT_TEXT, None, bytes),
            Event::Binary(bytes) => (abi::EVENT_BINARY, None, bytes),
            Event::Ping(bytes) => (abi::EVENT_PING, None, bytes),
            Event::Pong(bytes) => (abi::EVENT_PONG, None, bytes),
            Event::Closed(code, reason) => (abi::EVENT_CLOSED, Some(*code), reason.as_bytes()),
        };
        let code = code.map(i32::to_le_bytes);
        let code = code.as_ref().map_or(&[][..], |code| &code[..]);
        block.push(kind);
        block.extend_from_slice(&((code.len() + bytes.len()) as u32).to_le_bytes());
        block.extend_from_slice(code);
        block.extend_from_slice(bytes);
        if kind == abi::EVENT_CLOSED {
            EXCHANGES.remove(handle);
        }
    }
    Some(block)
}

fn array<'local>(env: &mut Env<'local>, block: Option<Vec<u8>>) -> Result<JByteArray<'local>> {
    let Some(block) = block else {
        return Ok(JByteArray::null());
    };
    let len = size_of_array(block.len())?;
    // The safe layer asks for pending exceptions before and after each call, and each question
    // costs as much as the call: here none can be pending before, and null tells the one after.
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

fn size_of_array(len: usize) -> Result<jint> {
    jint::try_from(len).map_err(|_| BridgeError::State(format!("{len} bytes are too many")))
}

fn server(handle: jlong) -> Result<Arc<Server>> {
    SERVERS
        .get(handle)
        .ok_or_else(|| BridgeError::State("the server has been freed".into()))
}

/// Runs `f` on a copy of a part of `array`, at most [`PIECE`] bytes at a time, until it is through
/// or `f` returns false. An empty part is one empty piece.
fn in_pieces(
    env: &mut Env<'_>,
    array: &JByteArray<'_>,
    (mut start, len): (usize, usize),
    mut f: impl FnMut(&[u8]) -> bool,
) -> Result<()> {
    let end = start + len;
    BUFFER.with_borrow_mut(|buffer| {
        loop {
            let size = (end - start).min(PIECE);
            if buffer.len() < size {
                buffer.resize(size.max(4096), 0);
            }
            copy(env, array, start, &mut buffer[..size])?;
            start += size;
            if !f(&buffer[..size]) || start >= end {
                return Ok(());
            }
        }
    })
}

fn copy(env: &Env<'_>, array: &JByteArray<'_>, start: usize, to: &mut [u8]) -> Result<()> {
    if to.is_empty() {
        return Ok(());
    }
    // SAFETY: `u8` and `i8` have the same size, alignment and valid values; the borrow is exclusive.
    let to = unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<i8>(), to.len()) };
    let start =
        jint::try_from(start).map_err(|_| BridgeError::Argument(format!("start {start}")))?;
    Ok(array.get_region(env, start, to)?)
}

pub(crate) fn bytes(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    start: jint,
    len: jint,
) -> Result<Vec<u8>> {
    let mut bytes = vec![0; size(len)?];
    copy(env, array, size(start)?, &mut bytes)?;
    Ok(bytes)
}

fn size(n: jint) -> Result<usize> {
    usize::try_from(n).map_err(|_| BridgeError::Argument(format!("size {n} is negative")))
}

#[allow(clippy::too_many_arguments)] // The one call that opens a server takes all that it needs.
pub(crate) fn open<'local>(
    env: &mut Env<'local>,
    _class: JClass<'local>,
    upcalls: JObject<'local>,
    address_kind: jint,
    address: JByteArray<'local>,
    port: jint,
    numbers: JLongArray<'local>,
    server_header: JByteArray<'local>,
) -> Result<jlong> {
    let address = env.convert_byte_array(&address)?;
    let address = read_address(address_kind, address, port)?;
    let mut n = [0i64; abi::OPEN_NUMBERS];
    numbers.get_region(env, 0, &mut n)?;
    let server_header = if server_header.is_null() {
        None
    } else {
        Some(env.convert_byte_array(&server_header)?)
    };
    let config = read_config(&n, server_header)?;
    let sink = Arc::new(ServerUpcalls::new(env, &upcalls)?);
    let server = Server::bind(&address, config, sink)
        .map_err(|e| BridgeError::Io(e, format!("cannot listen on {address}")))?;
    Ok(SERVERS.insert(Arc::new(server)))
}

fn read_address(kind: jint, bytes: Vec<u8>, port: jint) -> Result<Address> {
    if kind == abi::ADDRESS_UNIX {
        return Ok(Address::Unix(std::ffi::OsString::from_vec(bytes).into()));
    }
    let ip = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from),
        _ => <[u8; 16]>::try_from(bytes).map(IpAddr::from),
    }
    .map_err(|bytes| BridgeError::Argument(format!("address of {} bytes", bytes.len())))?;
    let port = u16::try_from(port).map_err(|_| BridgeError::Argument(format!("port {port}")))?;
    Ok(Address::Inet(SocketAddr::new(ip, port)))
}

fn read_config(n: &[i64; abi::OPEN_NUMBERS], server_header: Option<Vec<u8>>) -> Result<Config> {
    let number = |at: usize| {
        usize::try_from(n[at]).map_err(|_| BridgeError::Argument(format!("number {at}: {}", n[at])))
    };
    Ok(Config {
        limits: Limits::with_line(
            number(abi::OPEN_MAX_LINE)?,
            (number(abi::OPEN_MAX_BODY)? as u64).min(MAX_CONTENT),
        ),
        proxy: match n[abi::OPEN_PROXY] as jint {
            abi::PROXY_ENABLE => ProxyMode::Enable,
            abi::PROXY_OPTIONAL => ProxyMode::Optional,
            _ => ProxyMode::Disable,
        },
        server_header,
        max_message: (number(abi::OPEN_MAX_MESSAGE)? as u64).min(MAX_CONTENT),
        max_pending_messages: number(abi::OPEN_PENDING_MESSAGES)?,
        backlog: i32::try_from(n[abi::OPEN_BACKLOG]).unwrap_or(i32::MAX),
        mode: if n[abi::OPEN_MODE] as jint == abi::MODE_PUSH {
            Mode::Push
        } else {
            Mode::Pull
        },
        queue: number(abi::OPEN_QUEUE)?,
        receive_buffer: number(abi::OPEN_RECEIVE_BUFFER)?,
        reuse_port: n[abi::OPEN_REUSE_PORT] != 0,
    })
}

pub(crate) fn port<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    Ok(server(handle)?.port().map_or(-1, jint::from))
}

pub(crate) fn run<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    first: jboolean,
) -> Result<()> {
    server(handle)?
        .run(first)
        .map_err(|e| BridgeError::Io(e, "the server's loop failed".into()))
}

pub(crate) fn drain<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    server(handle)?.drain();
    Ok(())
}

pub(crate) fn shut_queue<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<()> {
    server(handle)?.queue().shut();
    Ok(())
}

pub(crate) fn close<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    server(handle)?.close();
    Ok(())
}

pub(crate) fn free<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    SERVERS.remove(handle);
    Ok(())
}

pub(crate) fn connections<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    Ok(server(handle)?.connections() as jint)
}

/// Everything that waits, for the threads that Java adds when the others are stuck.
pub(crate) fn spill<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    server(handle)?.spill();
    Ok(())
}

/// Null when there is no work any more, which a freed server has not either.
pub(crate) fn take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    take_from(env, handle)
}

thread_local! {
    /// The server whose work this thread took last, so that workers do not meet at its entry in
    /// [`SERVERS`]. Kept only until the server has no more work.
    static WORKS_FOR: RefCell<Option<(jlong, Arc<Server>)>> = const { RefCell::new(None) };
}

fn take_from<'local>(env: &mut Env<'local>, handle: jlong) -> Result<JByteArray<'local>> {
    WORKS_FOR.with_borrow_mut(|works_for| {
        if !matches!(works_for, Some((own, _)) if *own == handle) {
            *works_for = SERVERS.get(handle).map(|server| (handle, server));
        }
        let Some((_, server)) = works_for else {
            return Ok(JByteArray::null());
        };
        while let Some(work) = server.queue().take() {
            if let Some(array) = hand_over(env, work)? {
                return Ok(array);
            }
        }
        *works_for = None;
        Ok(JByteArray::null())
    })
}

/// An answer's bytes as Java passes them.
pub(crate) struct AnswerBytes<'local> {
    pub(crate) buffer: JByteArray<'local>,
    pub(crate) head: jint,
    pub(crate) body: jint,
    pub(crate) large: JByteArray<'local>,
    pub(crate) large_start: jint,
    pub(crate) large_len: jint,
}

#[allow(clippy::too_many_arguments)] // One crossing per answer: its parts are its arguments.
pub(crate) fn answer<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    exchange: jlong,
    status: jint,
    flags: jint,
    declared: jlong,
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
    more: jlong,
) -> Result<jint> {
    let bytes = AnswerBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 & !INLINE;
    let more =
        u64::try_from(more).map_err(|_| BridgeError::Argument(format!("{more} bytes more")))?;
    let answered = respond(env, exchange, status, flags, declared, &bytes, more)?;
    Ok(answered_code(&answered))
}

#[allow(clippy::too_many_arguments)] // As above, and the next piece of work comes back.
pub(crate) fn answer_and_take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    exchange: jlong,
    status: jint,
    flags: jint,
    declared: jlong,
    buffer: JByteArray<'local>,
    head: jint,
    body: jint,
    large: JByteArray<'local>,
    large_start: jint,
    large_len: jint,
) -> Result<JByteArray<'local>> {
    let bytes = AnswerBytes {
        buffer,
        head,
        body,
        large,
        large_start,
        large_len,
    };
    let flags = flags as u32 | INLINE;
    let answered = respond(env, exchange, status, flags, declared, &bytes, 0)?;
    if let Answered::Done(Some(next)) = answered
        && let Some(array) = hand_over(env, Work::Request(next))?
    {
        return Ok(array);
    }
    take_from(env, handle)
}

fn respond(
    env: &mut Env<'_>,
    handle: jlong,
    status: jint,
    flags: u32,
    declared: jlong,
    bytes: &AnswerBytes<'_>,
    more: u64,
) -> Result<Answered> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(Answered::Stale);
    };
    let status = u16::try_from(status)
        .ok()
        .filter(|status| (200..=999).contains(status))
        .ok_or_else(|| BridgeError::Argument(format!("status {status}")))?;
    let (head, body) = (size(bytes.head)?, size(bytes.body)?);
    let large = if bytes.large.is_null() {
        0
    } else {
        size(bytes.large_len)?
    };
    let total = (body + large) as u64 + more;
    let mut answered = Answered::Stale;
    in_buffer(env, &bytes.buffer, head + body, |buffer| {
        let (headers, body) = buffer.split_at(head);
        answered = exchange.respond(
            &Reply {
                status,
                headers,
                flags,
                declared,
            },
            body,
            total,
        );
    })?;
    if matches!(answered, Answered::More) && large > 0 {
        in_pieces(
            env,
            &bytes.large,
            (size(bytes.large_start)?, large),
            |piece| {
                // The array is in memory anyway: copying what the socket does not take is all there is to do.
                answered = exchange.body(piece, flags, usize::MAX);
                matches!(answered, Answered::More)
            },
        )?;
    }
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
    Ok(answered)
}

/// Like [`in_pieces`] for the start of an array, in one piece.
fn in_buffer<R>(
    env: &Env<'_>,
    array: &JByteArray<'_>,
    len: usize,
    f: impl FnOnce(&[u8]) -> R,
) -> Result<R> {
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < len {
            // No room for what is not there.
            if array.len(env)? < len {
                return Err(BridgeError::Argument(format!(
                    "no {len} bytes in the array"
                )));
            }
            buffer.resize(len.max(4096), 0);
        }
        copy(env, array, 0, &mut buffer[..len])?;
        let result = f(&buffer[..len]);
        if buffer.len() > 4 * PIECE {
            *buffer = Vec::new();
        }
        Ok(result)
    })
}

pub(crate) fn body<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    limit: jint,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let piece = bytes(env, &array, start, len)?;
    let answered = exchange.body(&piece, 0, size(limit)?);
    if matches!(answered, Answered::Done(_)) {
        EXCHANGES.remove(handle);
    }
    Ok(answered_code(&answered))
}

fn answered_code(answered: &Answered) -> jint {
    match answered {
        Answered::Stale => abi::SENT_CLOSED,
        Answered::More => abi::ANSWER_MORE,
        Answered::Full => abi::SENT_FULL,
        Answered::Done(_) => abi::SENT_ACCEPTED,
    }
}

#[allow(clippy::too_many_arguments)] // One crossing: the head's parts and the first piece.
pub(crate) fn stream<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    status: jint,
    flags: jint,
    buffer: JByteArray<'local>,
    head: jint,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let status =
        u16::try_from(status).map_err(|_| BridgeError::Argument(format!("status {status}")))?;
    let first = if array.is_null() {
        Vec::new()
    } else {
        bytes(env, &array, start, len)?
    };
    let sent = in_buffer(env, &buffer, size(head)?, |headers| {
        let reply = Reply {
            status,
            headers,
            flags: flags as u32,
            declared: -1,
        };
        exchange.stream(&reply, &first)
    })?;
    Ok(sent_code(sent))
}

#[allow(clippy::too_many_arguments)] // An array's part is three of them.
pub(crate) fn chunk<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    flags: jint,
    limit: jint,
) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let piece = bytes(env, &array, start, len)?;
    Ok(sent_code(exchange.chunk(
        &piece,
        flags as u32,
        size(limit)?,
    )))
}

pub(crate) fn end<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let sent = exchange.end();
    if sent == Sent::Accepted {
        EXCHANGES.remove(handle);
    }
    Ok(sent_code(sent))
}

#[allow(clippy::too_many_arguments)] // An array's part is three of them.
pub(crate) fn message<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    opcode: jint,
    array: JByteArray<'local>,
    start: jint,
    len: jint,
    flags: jint,
    limit: jint,
) -> Result<jint> {
    let opcode = u8::try_from(opcode)
        .ok()
        .and_then(Opcode::from_u8)
        .filter(|opcode| !matches!(opcode, Opcode::Close | Opcode::Continuation))
        .ok_or_else(|| BridgeError::Argument(format!("opcode {opcode}")))?;
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(abi::SENT_CLOSED);
    };
    let payload = bytes(env, &array, start, len)?;
    Ok(sent_code(exchange.message(
        opcode,
        &payload,
        flags as u32,
        size(limit)?,
    )))
}

pub(crate) fn close_websocket<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    code: jint,
    reason: JByteArray<'local>,
) -> Result<jboolean> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(false);
    };
    let code =
        u16::try_from(code).map_err(|_| BridgeError::Argument(format!("close code {code}")))?;
    let reason = String::from_utf8(env.convert_byte_array(&reason)?)
        .map_err(|_| BridgeError::Argument("the close reason is not UTF-8".into()))?;
    Ok(exchange.close(code, &reason))
}

#[allow(clippy::too_many_arguments)] // One crossing: all that the handshake settles.
pub(crate) fn upgrade<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    headers: JByteArray<'local>,
    len: jint,
    hear: jint,
    ping_interval: jlong,
    ping_timeout: jlong,
) -> Result<jboolean> {
    let Some(exchange) = EXCHANGES.get(handle) else {
        return Ok(false);
    };
    let headers = bytes(env, &headers, 0, len)?;
    Ok(exchange.upgrade(&headers, interest(hear), pings(ping_interval, ping_timeout)))
}

pub(crate) fn listen<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    hear: jint,
) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.listen(interest(hear));
    }
    Ok(())
}

/// Both in msecs; without an interval there are no pings.
fn pings(interval: jlong, timeout: jlong) -> Option<Pings> {
    let msecs = |n: jlong| {
        u64::try_from(n)
            .ok()
            .filter(|n| *n > 0)
            .map(Duration::from_millis)
    };
    Some(Pings {
        interval: msecs(interval)?,
        timeout: msecs(timeout)?,
    })
}

fn interest(hear: jint) -> Interest {
    Interest {
        pings: hear & abi::HEAR_PINGS != 0,
        pongs: hear & abi::HEAR_PONGS != 0,
        manual_pong: hear & abi::MANUAL_PONG != 0,
    }
}

pub(crate) fn hold<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.hold()))
}

pub(crate) fn settle<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.settle();
    }
    Ok(())
}

pub(crate) fn abort<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.abort()))
}

pub(crate) fn when_drained<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.when_drained()))
}

pub(crate) fn is_open<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jboolean> {
    Ok(EXCHANGES
        .get(handle)
        .is_some_and(|exchange| exchange.is_open()))
}

pub(crate) fn pending_bytes<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jlong> {
    Ok(EXCHANGES
        .get(handle)
        .map_or(0, |exchange| exchange.pending_bytes() as jlong))
}

/// Both ends as text, `ip:port` each and a blank between; null when stale or without addresses.
pub(crate) fn addresses<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    let ends = EXCHANGES
        .get(handle)
        .and_then(|exchange| exchange.addresses());
    let block = ends.map(|(local, peer)| {
        let mut block = Vec::with_capacity(40);
        for end in [local, peer] {
            let ip = end.ip().to_canonical();
            match ip {
                IpAddr::V4(ip) => {
                    block.push(4);
                    block.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    block.push(16);
                    block.extend_from_slice(&ip.octets());
                }
            }
            block.extend_from_slice(&end.port().to_le_bytes());
        }
        block
    });
    array(env, block)
}

pub(crate) fn take_events<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    match EXCHANGES.get(handle) {
        Some(exchange) => Ok(hand_over(env, Work::Events(exchange))?.unwrap_or_default()),
        None => Ok(JByteArray::null()),
    }
}

pub(crate) fn refuse<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    if let Some(exchange) = EXCHANGES.remove(handle) {
        exchange.refuse_all();
    }
    Ok(())
}

pub(crate) fn overload<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<()> {
    if let Some(exchange) = EXCHANGES.get(handle) {
        exchange.overload();
    }
    Ok(())
}

fn sent_code(sent: Sent) -> jint {
    match sent {
        Sent::Closed => abi::SENT_CLOSED,
        Sent::Accepted => abi::SENT_ACCEPTED,
        Sent::Full => abi::SENT_FULL,
    }
}
