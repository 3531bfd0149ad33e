//! The server's native methods: conversions around `httpkit_core::server`.

pub(crate) mod access;
pub(crate) mod body;
pub(crate) mod broadcast;
pub(crate) mod content;
pub(crate) mod encoded;
pub(crate) mod exchange;
pub(crate) mod exchanges;
pub(crate) mod lent;
pub(crate) mod respond;
pub(crate) mod stats;
pub(crate) mod tls;
pub(crate) mod upcalls;
pub(crate) mod websocket;
mod work;

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use httpkit_core::net::platform::socket_path;
use httpkit_core::server::{Address, Config, Notice, Server, Sink, Until, Work};
use jni::Env;
use jni::objects::{JByteArray, JClass, JLongArray, JObject, JObjectArray, JString};
use jni::refs::IntoAuto;
use jni::sys::{jboolean, jint, jlong};

use crate::border::abi;
use crate::border::error::{BridgeError, Result, number};
use crate::border::faults;
use crate::border::handle::HandleTable;
use crate::border::platform::{claim, in_send_queue};
use exchanges::EXCHANGES;
use upcalls::ServerUpcalls;
use work::{Handover, block, hand_over};

pub(crate) static SERVERS: HandleTable<Arc<Server>> = HandleTable::new();

/// Most bytes of a body or message, so that it fits into one array together with its metadata: a Java array has fewer
/// than 2^31.
const MAX_CONTENT: u64 = (1 << 31) - (1 << 24);

impl Sink for ServerUpcalls {
    fn on_work(&self, work: Vec<Work>) {
        // Handovers for all items first, so that a panic on the way does not lose the later ones.
        let work: Vec<_> = work.into_iter().map(|w| (Handover::of(&w), w)).collect();
        faults::point();
        self.on_work(work.into_iter().filter_map(ready).collect());
    }

    fn on_starved(&self, waiting: usize) {
        faults::point();
        self.on_starved(waiting);
    }

    fn on_drained(&self, name: i64, written: bool) {
        faults::point();
        // Senders wait for this upcall. If it failed, closing their channel ends the wait.
        if !self.on_drained(name, written)
            && let Some(exchange) = EXCHANGES.get(name)
        {
            exchange.abort();
        }
    }

    fn on_body(&self, name: i64) {
        faults::point();
        // A reader waits for this upcall. If it failed, the reader looks again by itself, and should find an end.
        if !self.on_body(name)
            && let Some(exchange) = EXCHANGES.get(name)
        {
            exchange.abort();
        }
    }

    fn on_overdue(&self, name: i64) {
        faults::point();
        self.on_overdue(name);
    }

    fn on_closing(&self, name: i64, code: i32, reason: &str) {
        faults::point();
        self.on_closing(name, code, reason);
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
            Notice::Timeout(timeout) => {
                self.on_notice(abi::NOTICE_TIMEOUT, 0, timeout.name());
            }
            Notice::Warning(message) => self.on_notice(abi::NOTICE_WARNING, 0, &message),
            Notice::RequestRefused => self.on_notice(abi::NOTICE_REQUEST_REFUSED, 503, ""),
            Notice::EventsRefused => self.on_notice(abi::NOTICE_EVENTS_REFUSED, 0, ""),
            Notice::Accept(message) => self.on_notice(abi::NOTICE_ACCEPT, 0, &message),
            Notice::File(message) => self.on_notice(abi::NOTICE_FILE, 0, &message),
            Notice::Handshake(reason) => self.on_notice(abi::NOTICE_HANDSHAKE, 0, &reason),
            Notice::Freed => self.on_notice(abi::NOTICE_FREED, 0, ""),
            Notice::LoopError(message) => self.on_notice(abi::NOTICE_LOOP, 0, &message),
        }
    }
}

/// Work with its block; `None` if its exchange is already over.
fn ready((handover, work): (Handover, Work)) -> Option<(Handover, Vec<u8>)> {
    match block(work) {
        Some(block) => Some((handover, block)),
        None => {
            handover.arrived();
            None
        }
    }
}

fn server(handle: jlong) -> Result<Arc<Server>> {
    SERVERS
        .get(handle)
        .ok_or_else(|| BridgeError::State("the server has been freed".into()))
}

#[allow(clippy::too_many_arguments)] // The single call that opens a server takes everything that it needs.
pub(crate) fn open<'local>(
    env: &mut Env<'local>,
    _class: JClass<'local>,
    upcalls: JObject<'local>,
    address_kind: jint,
    address: JByteArray<'local>,
    port: jint,
    names: JObjectArray<'local, JString<'local>>,
    values: JLongArray<'local>,
    server_header: JByteArray<'local>,
) -> Result<jlong> {
    let address = env.convert_byte_array(&address)?;
    let mut config = read_config(env, &names, &values)?;
    if !server_header.is_null() {
        config.server_header = Some(env.convert_byte_array(&server_header)?);
    }
    let sink = Arc::new(ServerUpcalls::new(env, &upcalls)?);
    let server = match address_kind {
        abi::ADDRESS_NONE => Server::unbound(config, sink),
        kind => {
            let address = read_address(kind, address, port)?;
            Server::bind(&address, config, sink)
                .map_err(|e| BridgeError::Io(e, format!("cannot listen on {address}")))?
        }
    };
    Ok(SERVERS.insert(Arc::new(server)))
}

fn read_address(kind: jint, bytes: Vec<u8>, port: jint) -> Result<Address> {
    let ip = match (kind, bytes.len()) {
        (abi::ADDRESS_UNIX, _) => {
            let path = socket_path(bytes).map_err(|e| BridgeError::Argument(e.to_string()))?;
            return Ok(Address::Unix(path));
        }
        (abi::ADDRESS_LENT, _) => return lent::address(&bytes, port),
        (abi::ADDRESS_INET, 4) => <[u8; 4]>::try_from(bytes).map(IpAddr::from),
        (abi::ADDRESS_INET, _) => <[u8; 16]>::try_from(bytes).map(IpAddr::from),
        _ => return Err(BridgeError::Argument(format!("kind of address {kind}"))),
    }
    .map_err(|bytes| BridgeError::Argument(format!("address of {} bytes", bytes.len())))?;
    Ok(Address::Inet(SocketAddr::new(ip, number(port, "port")?)))
}

/// The core's defaults with these options, see `Config::set` for their names.
fn read_config(
    env: &mut Env<'_>,
    names: &JObjectArray<'_, JString<'_>>,
    values: &JLongArray<'_>,
) -> Result<Config> {
    let mut numbers = vec![0; names.len(env)?];
    values.get_region(env, 0, &mut numbers)?;
    let mut config = Config::default();
    for (at, value) in numbers.into_iter().enumerate() {
        let name = names.get_element(env, at)?.auto().try_to_string(env)?;
        config
            .set(&name, value)
            .map_err(|e| BridgeError::Argument(e.to_string()))?;
    }
    // A longer body is never in memory as a whole.
    match &mut config.request_buffer {
        Some(buffer) => *buffer = (*buffer).min(MAX_CONTENT as usize),
        None => config.limits.body = config.limits.body.min(MAX_CONTENT),
    }
    config.max_message = config.max_message.min(MAX_CONTENT);
    config.unsent = in_send_queue;
    config.claim = claim;
    Ok(config)
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
    server(handle)?.shut_queue();
    Ok(())
}

pub(crate) fn go_away<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    Ok(server(handle)?.go_away() as jint)
}

pub(crate) fn served<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    Ok(server(handle)?.served() as jint)
}

pub(crate) fn close<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<jint> {
    Ok(server(handle)?.close() as jint)
}

pub(crate) fn free<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    SERVERS.remove(handle);
    Ok(())
}

pub(crate) fn unsent<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    grace: jlong,
) -> Result<jint> {
    let grace = Duration::from_millis(number(grace, "grace in msecs")?);
    Ok(server(handle)?.unsent(grace) as jint)
}

pub(crate) fn unfinished<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
    grace: jlong,
    open_channels_too: jboolean,
) -> Result<jint> {
    let grace = Duration::from_millis(number(grace, "grace in msecs")?);
    let until = match open_channels_too {
        true => Until::Drained,
        false => Until::Stopped,
    };
    Ok(server(handle)?.unfinished(grace, until) as jint)
}

pub(crate) fn connections<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<jint> {
    // A server that is being printed may have stopped.
    Ok(server(handle).map_or(0, |server| server.connections() as jint))
}

/// Hands queued work to threads that Java adds while the others are stuck; all of it once the queue is shut.
pub(crate) fn spill<'local>(_: &mut Env<'local>, _: JClass<'local>, handle: jlong) -> Result<()> {
    server(handle)?.push_surplus();
    Ok(())
}

/// Null when there is no more work, as after the server was freed.
pub(crate) fn take<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    take_from(env, handle)
}

thread_local! {
    /// The server whose work this thread took last, so that workers do not contend for its entry in [`SERVERS`]. Kept
    /// only until the server has no more work.
    static WORKS_FOR: RefCell<Option<(jlong, Arc<Server>)>> = const { RefCell::new(None) };
}

pub(crate) fn take_from<'local>(
    env: &mut Env<'local>,
    handle: jlong,
) -> Result<JByteArray<'local>> {
    WORKS_FOR.with_borrow_mut(|works_for| {
        if !matches!(works_for, Some((own, _)) if *own == handle) {
            *works_for = SERVERS.get(handle).map(|server| (handle, server));
        }
        let Some((_, server)) = works_for else {
            return Ok(JByteArray::null());
        };
        while let Some(work) = server.take() {
            if let Some(array) = hand_over(env, work)? {
                return Ok(array);
            }
        }
        *works_for = None;
        Ok(JByteArray::null())
    })
}
