//! Downcalls: one table of native methods, registered when the library is loaded.
//!
//! A method whose Java and Rust sides have diverged fails at registration, by name, not when first called.

use jni::objects::{JClass, JValue};
use jni::strings::JNIString;
use jni::sys::{JNI_ERR, JNI_VERSION_1_8, jint, jlong};
use jni::{Env, JavaVM, NativeMethod, jni_sig, jni_str, native_method};
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};

use crate::border::error::{self, BridgeError, ThrowMapped, panic_message};
use crate::border::{faults, platform};
use crate::client::{self, decoder};
use crate::server::{
    self, access, body, broadcast, content, encoded, exchange, exchanges, respond, stats, tls,
    websocket,
};

macro_rules! natives {
    ($java_type:tt; $(fn $method:ident ( $($args:tt)* ) -> $ret:ident $([$($dim:tt)*])? = $implementation:path;)*) => {
        &[$(native_method! {
            java_type = $java_type,
            error_policy = ThrowMapped,
            static fn $method($($args)*) -> $ret $([$($dim)*])?,
            fn = $implementation,
        }),*]
    };
}

/// Every native method of `org.httpkit.jni.Native`.
const NATIVES: &[NativeMethod] = natives! { "org.httpkit.jni.Native";
    fn loader_number(number: jint) -> void = loader_number;
    fn version() -> JString = version;
    fn build_profile() -> JString = build_profile;
    fn known_headers() -> JString = known_headers;
    fn known_methods() -> JString = known_methods;
    fn clock() -> jlong = clock;
    fn live_handles() -> jlong = live_handles;
    fn trim_memory() -> void = trim_memory;
    fn server_open(upcalls: org.httpkit.jni.ServerUpcalls, address_kind: jint, address: jbyte[], port: jint, names: JString[], values: jlong[], server_header: jbyte[]) -> jlong = server::open;
    fn notify_manager(socket: jbyte[], message: jbyte[]) -> void = server::lent::notify_manager;
    fn server_port(server: jlong) -> jint = server::port;
    fn server_listen_tls(server: jlong, address_kind: jint, address: jbyte[], port: jint) -> jint = tls::listen;
    fn server_tls(server: jlong, chains: jbyte[][][], keys: jbyte[][], staples: jbyte[][], anchors: jbyte[][], crls: jbyte[][], flags: jint) -> jlong[] = tls::set;
    fn exchange_tls(exchange: jlong) -> JObject[] = tls::session;
    fn server_run(server: jlong, first: jboolean) -> void = server::run;
    fn server_drain(server: jlong) -> void = server::drain;
    fn server_shut_queue(server: jlong) -> void = server::shut_queue;
    fn server_go_away(server: jlong) -> jint = server::go_away;
    fn server_served(server: jlong) -> jint = server::served;
    fn server_close(server: jlong) -> jint = server::close;
    fn server_free(server: jlong) -> void = server::free;
    fn server_unsent(server: jlong, grace: jlong) -> jint = server::unsent;
    fn server_unfinished(server: jlong, grace: jlong, open_channels_too: jboolean) -> jint = server::unfinished;
    fn server_connections(server: jlong) -> jint = server::connections;
    fn server_stats(server: jlong, out: jlong[]) -> jboolean = stats::stats;
    fn server_access(server: jlong) -> jbyte[] = access::take;
    fn server_access_lost(server: jlong, count: jlong) -> jlong = access::lost;
    fn server_close_access(server: jlong) -> void = access::close;
    fn server_spill(server: jlong) -> void = server::spill;
    fn take(server: jlong) -> jbyte[] = server::take;
    fn respond(exchange: jlong, status: jint, flags: jint, declared: jlong, buffer: jbyte[], head: jint, body: jint, large: jbyte[], large_start: jint, large_len: jint) -> jint = respond::respond;
    fn respond_file(exchange: jlong, status: jint, flags: jint, buffer: jbyte[], head: jint, path: jbyte[], offset: jlong, length: jlong) -> jint = exchange::respond_file;
    fn respond_and_take(server: jlong, exchange: jlong, status: jint, flags: jint, declared: jlong, buffer: jbyte[], head: jint, body: jint, large: jbyte[], large_start: jint, large_len: jint) -> jbyte[] = respond::respond_and_take;
    fn respond_encoded(exchange: jlong, bytes: jbyte[], start: jint, len: jint, more: jlong, interest: jint) -> jint = encoded::respond;
    fn send_body(exchange: jlong, rest: jbyte[], start: jint, len: jint, owned: jboolean) -> jint = exchange::send_body;
    fn read_body(exchange: jlong, into: jbyte[], start: jint, len: jint) -> jint = body::read;
    fn trailers(exchange: jlong) -> jbyte[] = body::trailers;
    fn inform(exchange: jlong, status: jint, headers: jbyte[], len: jint) -> jboolean = body::inform;
    fn body_fault(exchange: jlong) -> JString = body::fault;
    fn stream(exchange: jlong, status: jint, flags: jint, buffer: jbyte[], head: jint, first: jbyte[], start: jint, len: jint) -> jint = exchange::stream;
    fn send_chunk(exchange: jlong, piece: jbyte[], start: jint, len: jint, flags: jint, limit: jint) -> jint = exchange::send_chunk;
    fn end_stream(exchange: jlong) -> jint = exchange::end_stream;
    fn send_frame(channel: jlong, opcode: jint, payload: jbyte[], start: jint, len: jint, flags: jint, limit: jint) -> jint = websocket::send_frame;
    fn broadcast(channels: jlong[], opcode: jint, payload: jbyte[], start: jint, len: jint) -> void = broadcast::send;
    fn close_web_socket(channel: jlong, code: jint, reason: jbyte[]) -> jboolean = websocket::close;
    fn upgrade(exchange: jlong, headers: jbyte[], len: jint, interest: jint, ping_interval: jlong, ping_timeout: jlong) -> jboolean = websocket::upgrade;
    fn set_interest(channel: jlong, interest: jint) -> void = websocket::set_interest;
    fn watch_peer(exchange: jlong) -> jboolean = exchange::watch_peer;
    fn uncork(exchange: jlong) -> void = exchange::uncork;
    fn heartbeat(exchange: jlong, millis: jint) -> jboolean = exchange::heartbeat;
    fn abort(exchange: jlong) -> jboolean = exchange::abort;
    fn abandon(exchange: jlong) -> void = exchange::abandon;
    fn when_drained(exchange: jlong) -> jint = exchange::when_drained;
    fn await_room(exchange: jlong, limit: jint) -> jboolean = exchange::await_room;
    fn is_open(exchange: jlong) -> jboolean = exchange::is_open;
    fn pending_bytes(exchange: jlong) -> jlong = exchange::pending_bytes;
    fn addresses(exchange: jlong) -> jbyte[] = exchange::addresses;
    fn take_events(channel: jlong) -> jbyte[] = exchange::take_events;
    fn take_after(server: jlong, channel: jlong) -> jbyte[] = exchange::take_after;
    fn refuse(exchange: jlong, stopping: jboolean) -> void = exchange::refuse;
    fn overload(channel: jlong) -> void = exchange::overload;
};

/// Every native method of `org.httpkit.jni.NativeClient`.
const CLIENT_NATIVES: &[NativeMethod] = natives! { "org.httpkit.jni.NativeClient";
    fn client_open(max_connections: jlong, max_per_host: jlong, bind: jbyte[]) -> jlong = client::open;
    fn client_run(client: jlong) -> void = client::run;
    fn client_stop(client: jlong) -> void = client::stop;
    fn client_tls(client: jlong, material: jbyte[]) -> void = client::tls;
    fn client_call(client: jlong, call: jlong, spec: jbyte[], spec_length: jint, body: jbyte[], body_offset: jint, body_length: jint) -> jboolean = client::call;
    fn client_credit(client: jlong, call: jlong, n: jint) -> void = client::credit;
    fn client_cancel(client: jlong, call: jlong) -> void = client::cancel;
    fn client_send(client: jlong, call: jlong, data: jbyte[], offset: jint, length: jint, last: jboolean) -> jboolean = client::send;
    fn client_send_failed(client: jlong, call: jlong) -> void = client::send_failed;
    fn client_stats(client: jlong, out: jlong[]) -> jboolean = client::stats;
    fn transport_ready(client: jlong, transport: jlong) -> void = client::transport_ready;
    fn transport_failed(client: jlong, transport: jlong) -> void = client::transport_failed;
    fn transport_received(client: jlong, transport: jlong, data: jbyte[], offset: jint, length: jint) -> jboolean = client::transport_received;
    fn transport_eof(client: jlong, transport: jlong) -> void = client::transport_eof;
    fn transport_written(client: jlong, transport: jlong, n: jint) -> void = client::transport_written;
    fn decoder_open(head_request: jboolean) -> jlong = decoder::open;
    fn decoder_feed(decoder: jlong, data: jbyte[], offset: jint, length: jint) -> jbyte[] = decoder::feed_bytes;
    fn decoder_close(decoder: jlong) -> void = decoder::close;
    fn decode_content(coding: jint, data: jbyte[], offset: jint, length: jint, filter: jlong, limit: jlong, room: jlong) -> jbyte[] = decoder::decode_content;
};

/// The number that this library's class loader took with `NativeLibrary`; -1 until it is registered. Set anew for each
/// loader: the C library may keep an image, with its statics, from one loader to the next.
static LOADER_NUMBER: AtomicI32 = AtomicI32::new(-1);

fn loader_number<'local>(
    _: &mut Env<'local>,
    _: JClass<'local>,
    number: jint,
) -> Result<(), BridgeError> {
    faults::point();
    LOADER_NUMBER.store(number, Ordering::Relaxed);
    Ok(())
}

/// Releases the number of a collected class loader.
///
/// # Safety
///
/// Called by the JVM only, with its own pointer.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn JNI_OnUnload(vm: *mut jni::sys::JavaVM, _: *mut c_void) {
    let number = LOADER_NUMBER.swap(-1, Ordering::Relaxed);
    if number < 0 {
        return;
    }
    // SAFETY: the JVM passes a valid `JavaVM` that lives as long as the process.
    let vm = unsafe { JavaVM::from_raw(vm) };
    // A number that stays taken only costs a name, so panics and exceptions are ignored.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        vm.attach_current_thread(|env| {
            let key = env.new_string(format!("http-kit.native.loader.{number}"))?;
            env.call_static_method(
                jni_str!("java/lang/System"),
                jni_str!("clearProperty"),
                jni_sig!("(Ljava/lang/String;)Ljava/lang/String;"),
                &[JValue::Object(&key)],
            )
            .map(drop)
        })
    }));
}

/// Registers the table, so that a mismatch between Java and Rust fails at load and names the method.
///
/// # Safety
///
/// Called by the JVM only, with its own pointer.
#[unsafe(no_mangle)]
pub unsafe extern "system" fn JNI_OnLoad(vm: *mut jni::sys::JavaVM, _: *mut c_void) -> jint {
    // SAFETY: the JVM passes a valid `JavaVM` that lives as long as the process.
    let vm = unsafe { JavaVM::from_raw(vm) };
    // Not `attach_current_thread`: that one clears what its closure throws, and the exception
    // thrown here is the message that `System.load` shows.
    let registered = catch_unwind(|| vm.with_top_local_frame(register));
    let reason = match registered {
        Ok(Ok(())) => return JNI_VERSION_1_8,
        Ok(Err(error)) => error.to_string(),
        Err(payload) => panic_message(&*payload).to_owned(),
    };
    // A panic that left this function would end the JVM.
    let _ = catch_unwind(|| vm.with_top_local_frame(|env| refuse(env, &reason)));
    JNI_ERR
}

/// Throws an error that says why the library cannot be used, unless an exception is already pending.
fn refuse(env: &mut Env<'_>, reason: &str) -> jni::errors::Result<()> {
    if env.exception_check() {
        return Ok(());
    }
    let message = JNIString::new(format!("http-kit's native library does not fit: {reason}"));
    env.throw_new(jni_str!("java/lang/UnsatisfiedLinkError"), message)
}

fn register(env: &mut Env<'_>) -> jni::errors::Result<()> {
    faults::loading();
    error::resolve(env)?;
    server::upcalls::check(env)?;
    client::upcalls::check(env)?;
    for (class, methods) in [
        (jni_str!("org/httpkit/jni/Native"), NATIVES),
        (jni_str!("org/httpkit/jni/NativeClient"), CLIENT_NATIVES),
    ] {
        let class = env.find_class(class)?;
        // SAFETY: every entry was checked against its Rust function by `native_method!`, and all are static.
        unsafe { env.register_native_methods(&class, methods) }?;
    }
    Ok(())
}

fn version<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
) -> Result<jni::objects::JString<'local>, BridgeError> {
    faults::point();
    Ok(env.new_string(env!("CARGO_PKG_VERSION"))?)
}

fn build_profile<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
) -> Result<jni::objects::JString<'local>, BridgeError> {
    faults::point();
    Ok(env.new_string(if cfg!(debug_assertions) {
        "debug"
    } else {
        "release"
    })?)
}

/// The table behind the numbers in request blocks, so that Java has no copy that could drift.
fn known_headers<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
) -> Result<jni::objects::JString<'local>, BridgeError> {
    faults::point();
    Ok(env.new_string(httpkit_core::h1::head::KNOWN_HEADERS.join("\n"))?)
}

/// As `known_headers`.
fn known_methods<'local>(
    env: &mut Env<'local>,
    _: JClass<'local>,
) -> Result<jni::objects::JString<'local>, BridgeError> {
    faults::point();
    Ok(env.new_string(httpkit_core::h1::head::METHODS.join("\n"))?)
}

fn clock<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<jlong, BridgeError> {
    faults::point();
    Ok(httpkit_core::server::request::clock() as jlong)
}

fn trim_memory<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<(), BridgeError> {
    faults::point();
    platform::trim_memory();
    Ok(())
}

/// Number of objects that Java holds by handle, and of arrays kept for peers; zero when nothing is open.
fn live_handles<'local>(_: &mut Env<'local>, _: JClass<'local>) -> Result<jlong, BridgeError> {
    let server = server::SERVERS.live() + exchanges::EXCHANGES.live();
    let client = client::CLIENTS.live() + decoder::DECODERS.live();
    Ok((server + client + content::kept_arrays()) as jlong)
}
