//! Numbers that Rust and Java share; the Java side is `org.httpkit.jni.Abi`, and
//! `tests/abi` compares the two.

use jni::sys::jint;

/// Second field of a block of work: it is a request, see `httpkit_core::server::request`.
pub const KIND_REQUEST: u8 = 1;
/// Second field of a block of work: it holds a channel's events.
pub const KIND_EVENTS: u8 = 2;

/// An event in a block: text, binary, ping and pong carry their WebSocket opcode.
pub const EVENT_TEXT: u8 = 1;
pub const EVENT_BINARY: u8 = 2;
/// The peer has ended its side before getting its response. Only with the option `tell-half-close`.
pub const EVENT_HALF_CLOSED: u8 = 3;
/// The channel is closed, as its last event will report in order; same payload as that.
pub const EVENT_CLOSING: u8 = 7;
/// The channel is closed: four bytes of code, then the reason. The last event of a channel.
pub const EVENT_CLOSED: u8 = 8;
pub const EVENT_PING: u8 = 9;
pub const EVENT_PONG: u8 = 10;

/// In place of the index of a method's or header's name: it is none of those that have a number.
pub const UNKNOWN_NAME: u8 = 255;

/// Bits of a request block's flags.
pub const REQUEST_HTTP11: u8 = 1;
pub const REQUEST_UPGRADE: u8 = 2;
pub const REQUEST_CLOSE: u8 = 4;
pub const REQUEST_HEAD: u8 = 8;
pub const REQUEST_PROXIED: u8 = 16;
pub const REQUEST_TLS: u8 = 32;
pub const REQUEST_STREAMED: u8 = 64;

/// Bits that accompany a response or a send.
pub const GIVEN_DATE: jint = 1;
pub const GIVEN_SERVER: jint = 2;
pub const GIVEN_CONNECTION: jint = 4;
pub const CLOSE: jint = 8;
pub const CORK: jint = 32;
/// No user code can reach the response's large array.
pub const OWNED: jint = 128;
/// In place of a declared length: a response to HEAD declares none.
pub const UNKNOWN_LENGTH: jint = -2;
/// The first bit of the level at which a response is compressed, and of its window's size.
pub const GZIP_LEVEL: jint = 8;
pub const GZIP_WINDOW: jint = 12;

/// In place of a WebSocket opcode: one chunk of a stream.
pub const OPCODE_CHUNK: jint = 0;

/// The outcome of a response or a send.
pub const SENT_CLOSED: jint = 0;
pub const SENT_ACCEPTED: jint = 1;
pub const SENT_FULL: jint = 2;
pub const RESPONSE_MORE: jint = 3;
pub const RESPONSE_UPGRADED: jint = 4;

/// The outcome of reading a body; other numbers are how many bytes were read.
pub const BODY_END: jint = -1;
pub const BODY_LATER: jint = -2;
/// The peer has ended its side, or the connection is lost.
pub const BODY_EARLY: jint = -3;
/// The response is complete.
pub const BODY_OVER: jint = -4;
/// The body breaks a rule or a time limit, which `bodyFault` tells.
pub const BODY_BROKEN: jint = -5;

/// Which events a WebSocket's user wants.
pub const INTEREST_PINGS: jint = 1;
pub const INTEREST_PONGS: jint = 2;
pub const INTEREST_MANUAL_PONG: jint = 4;

/// Kinds of notices.
pub const NOTICE_VIOLATION: jint = 1;
pub const NOTICE_FRAME: jint = 2;
pub const NOTICE_REQUEST_REFUSED: jint = 3;
pub const NOTICE_EVENTS_REFUSED: jint = 4;
pub const NOTICE_ACCEPT: jint = 5;
pub const NOTICE_LOOP: jint = 6;
pub const NOTICE_FILE: jint = 7;
pub const NOTICE_FREED: jint = 8;
pub const NOTICE_TIMEOUT: jint = 9;
pub const NOTICE_WARNING: jint = 10;
pub const NOTICE_HANDSHAKE: jint = 11;

/// Kinds of addresses to bind; none: no listener for plain HTTP.
pub const ADDRESS_NONE: jint = 0;
pub const ADDRESS_INET: jint = 1;
pub const ADDRESS_UNIX: jint = 2;
pub const ADDRESS_LENT: jint = 3;

/// Whether connections begin with a PROXY header: values of the option `proxy-protocol`.
pub const PROXY_DISABLE: jint = 0;
pub const PROXY_ENABLE: jint = 1;
pub const PROXY_OPTIONAL: jint = 2;

/// Bits that accompany a server's TLS material: client certificates, versions, redirects of plain HTTP.
pub const SERVER_TLS_WANT: jint = 1;
pub const SERVER_TLS_NEED: jint = 2;
pub const SERVER_TLS_12: jint = 4;
pub const SERVER_TLS_13: jint = 8;
pub const SERVER_TLS_REDIRECT: jint = 16;

/// The core's own numbers are the same: one side cannot change without the other.
const _: () = {
    use httpkit_core::h1::head;
    use httpkit_core::h1::proxy::ProxyMode;
    use httpkit_core::server::{self, Timeout, request};
    use httpkit_core::ws::Opcode;
    assert!(EVENT_TEXT == Opcode::Text as u8);
    assert!(EVENT_BINARY == Opcode::Binary as u8);
    assert!(EVENT_PING == Opcode::Ping as u8);
    assert!(EVENT_PONG == Opcode::Pong as u8);
    assert!(UNKNOWN_NAME == head::EXTENSION_METHOD && UNKNOWN_NAME == head::UNKNOWN_HEADER);
    assert!(PROXY_DISABLE == ProxyMode::Disable as jint);
    assert!(PROXY_ENABLE == ProxyMode::Enable as jint);
    assert!(PROXY_OPTIONAL == ProxyMode::Optional as jint);
    assert!(TIMEOUT_HEADER == Timeout::Header as usize);
    assert!(TIMEOUT_IDLE == Timeout::Idle as usize);
    assert!(TIMEOUT_BODY == Timeout::Body as usize);
    assert!(TIMEOUT_WRITE == Timeout::Write as usize);
    assert!(TIMEOUT_HANDLER == Timeout::Handler as usize);
    assert!(TIMEOUT_WS == Timeout::Ws as usize);
    assert!(OPCODE_CHUNK < Opcode::Text as jint);
    assert!(KIND_REQUEST == request::KIND_REQUEST);
    assert!(REQUEST_HTTP11 == request::FLAG_HTTP11);
    assert!(REQUEST_UPGRADE == request::FLAG_UPGRADE);
    assert!(REQUEST_CLOSE == request::FLAG_CLOSE);
    assert!(REQUEST_HEAD == request::FLAG_HEAD);
    assert!(REQUEST_PROXIED == request::FLAG_PROXIED);
    assert!(REQUEST_TLS == request::FLAG_TLS);
    assert!(REQUEST_STREAMED == request::FLAG_STREAMED);
    assert!(GIVEN_DATE as u32 == server::GIVEN_DATE);
    assert!(GIVEN_SERVER as u32 == server::GIVEN_SERVER);
    assert!(GIVEN_CONNECTION as u32 == server::GIVEN_CONNECTION);
    assert!(CLOSE as u32 == server::CLOSE);
    assert!(CORK as u32 == server::CORK);
    assert!(UNKNOWN_LENGTH as i64 == server::UNKNOWN_LENGTH);
    assert!(GZIP_LEVEL as u32 == server::GZIP_LEVEL);
    assert!(GZIP_WINDOW as u32 == server::GZIP_WINDOW);
};

/// Bits that only one side gives have no second meaning on the other.
const _: () = {
    use httpkit_core::server;
    const NIBBLE: u32 = 0b1111;
    let gzip = NIBBLE << GZIP_LEVEL | NIBBLE << GZIP_WINDOW;
    let both = (GIVEN_DATE | GIVEN_SERVER | GIVEN_CONNECTION | CLOSE | CORK) as u32 | gzip;
    assert!((both | OWNED as u32) & server::INLINE == 0);
    assert!((both | server::INLINE) & OWNED as u32 == 0);
};

/// Bits of a call's spec.
pub const CALL_STREAM: u32 = 1;
pub const CALL_RAW: u32 = 2;
pub const CALL_HOSTED: u32 = 4;
pub const CALL_HOSTED_TLS: u32 = 8;

/// A method, where a call depends on it.
pub const METHOD_OTHER: u8 = 0;
pub const METHOD_GET: u8 = 1;
pub const METHOD_HEAD: u8 = 2;

/// How far a server's certificate is checked; none: no TLS.
pub const TLS_NONE: u8 = 0;
pub const TLS_VERIFY: u8 = 1;
pub const TLS_VERIFY_CHAIN: u8 = 2;
pub const TLS_TRUST_ALL: u8 = 3;

/// Ways to a target. An absolute-form proxy is a direct one.
pub const ROUTE_DIRECT: u8 = 0;
pub const ROUTE_TUNNEL: u8 = 1;
pub const ROUTE_SOCKS5: u8 = 2;

/// How the body of a call is sent: it is in memory, or streamed, of known length or in chunks.
pub const UPLOAD_WHOLE: u8 = 0;
pub const UPLOAD_LENGTH: u8 = 1;
pub const UPLOAD_CHUNKED: u8 = 2;

/// Bits that accompany a response's head, or a decoder's status line.
pub const HEAD_HTTP10: jint = 1;

/// Kinds of failed calls; `ClientUpcalls.failure` has their exception classes.
pub const FAIL_IO: jint = 1;
pub const FAIL_CONNECT: jint = 2;
pub const FAIL_SOCKET: jint = 3;
pub const FAIL_NO_ROUTE: jint = 4;
pub const FAIL_BIND: jint = 5;
pub const FAIL_TIMEOUT: jint = 6;
pub const FAIL_PROTOCOL: jint = 7;
pub const FAIL_LINE_TOO_LARGE: jint = 8;
pub const FAIL_HEADERS_TOO_LARGE: jint = 9;
pub const FAIL_ABORT: jint = 10;
pub const FAIL_ZIP: jint = 11;
pub const FAIL_EOF: jint = 12;
pub const FAIL_SSL_HANDSHAKE: jint = 13;
pub const FAIL_SSL: jint = 14;
pub const FAIL_STOPPED: jint = 15;
pub const FAIL_CANCELLED: jint = 16;
pub const FAIL_HOSTED: jint = 17;
pub const FAIL_ARGUMENT: jint = 18;
pub const FAIL_INTERNAL: jint = 19;
pub const FAIL_TOO_LARGE: jint = 20;
pub const FAIL_SOURCE: jint = 21;

/// Records of a decoder's result.
pub const DECODED_STATUS: u8 = 1;
pub const DECODED_HEADERS: u8 = 2;
pub const DECODED_BODY: u8 = 3;
pub const DECODED_ERROR: u8 = 4;
pub const DECODED_STATE: u8 = 5;

/// A decoder's state.
pub const STATE_STATUS: u8 = 0;
pub const STATE_HEADERS: u8 = 1;
pub const STATE_FIXED: u8 = 2;
pub const STATE_CHUNK_SIZE: u8 = 3;
pub const STATE_CHUNK: u8 = 4;
pub const STATE_CHUNK_END: u8 = 5;
pub const STATE_TRAILERS: u8 = 6;
pub const STATE_UNTIL_CLOSE: u8 = 7;
pub const STATE_DONE: u8 = 8;

/// Codings of `decodeContent`.
pub const CODING_GZIP: jint = 1;
pub const CODING_DEFLATE: jint = 2;

/// Indexes of the numbers that `clientStats` fills in.
pub const STAT_OPEN: usize = 0;
pub const STAT_IDLE: usize = 1;
pub const STAT_ACTIVE: usize = 2;
pub const STAT_QUEUED: usize = 3;
pub const STAT_OPENED: usize = 4;
pub const STAT_REQUESTS: usize = 5;
pub const STAT_REUSED: usize = 6;
pub const STAT_RETRIED: usize = 7;
pub const STAT_NATIVE_TLS: usize = 8;
pub const STAT_HOSTED: usize = 9;
pub const STAT_BUFFERED: usize = 10;
pub const STAT_CONNECTING: usize = 11;
pub const CLIENT_STATS: usize = 12;

/// Each of a client's numbers has its own index.
const _: () = {
    let places = [
        STAT_OPEN,
        STAT_IDLE,
        STAT_ACTIVE,
        STAT_QUEUED,
        STAT_OPENED,
        STAT_REQUESTS,
        STAT_REUSED,
        STAT_RETRIED,
        STAT_NATIVE_TLS,
        STAT_HOSTED,
        STAT_BUFFERED,
        STAT_CONNECTING,
    ];
    let (mut taken, mut i) = (0_u32, 0);
    while i < places.len() {
        taken |= 1 << places[i];
        i += 1;
    }
    assert!(taken == (1 << CLIENT_STATS) - 1);
};

/// Where `serverStats` puts its numbers. Five for the classes of statuses, and a histogram's buckets, follow each
/// other.
pub const SERVER_STAT_OPEN: usize = 0;
pub const SERVER_STAT_WEBSOCKETS: usize = 1;
pub const SERVER_STAT_ACTIVE: usize = 2;
pub const SERVER_STAT_ACCEPTED: usize = 3;
pub const SERVER_STAT_REQUESTS: usize = 4;
pub const SERVER_STAT_REJECTED: usize = 5;
pub const SERVER_STAT_STATUSES: usize = 6;
pub const SERVER_STAT_RECEIVED: usize = 11;
pub const SERVER_STAT_WRITTEN: usize = 12;
pub const SERVER_STAT_MICROS: usize = 13;
pub const SERVER_STAT_PENDING: usize = 14;
pub const SERVER_STAT_BUFFERED: usize = 15;
pub const SERVER_STAT_WAITING: usize = 16;
pub const SERVER_STAT_OLDEST: usize = 17;
pub const SERVER_STAT_THREADS: usize = 18;
pub const SERVER_STAT_TIMEOUTS: usize = 19;
pub const SERVER_STAT_HANDLER: usize = 25;
pub const SERVER_STAT_WHOLE: usize = 149;
/// Where each kind of time limit is from [`SERVER_STAT_TIMEOUTS`] on.
pub const TIMEOUT_HEADER: usize = 0;
pub const TIMEOUT_IDLE: usize = 1;
pub const TIMEOUT_BODY: usize = 2;
pub const TIMEOUT_WRITE: usize = 3;
pub const TIMEOUT_HANDLER: usize = 4;
pub const TIMEOUT_WS: usize = 5;
/// Buckets of a histogram.
pub const STAT_BUCKETS: usize = 124;
/// Connections with TLS, and those refused for their address.
pub const SERVER_STAT_TLS: usize = 273;
pub const SERVER_STAT_REFUSED: usize = 274;
/// Handshakes: completed, those of them that resumed a session, failed.
pub const SERVER_STAT_HANDSHAKES: usize = 275;
/// Entries for the access log: added, dropped.
pub const SERVER_STAT_LOGGED: usize = 278;
/// Bytes of all buffers.
pub const SERVER_STAT_HELD: usize = 280;
/// Native memory of this library, for all servers and clients.
pub const SERVER_STAT_NATIVE: usize = 281;
pub const SERVER_STATS: usize = 282;

/// How an exchange in the access log has ended.
pub const ACCESS_DONE: u8 = 0;
pub const ACCESS_ABORTED: u8 = 1;
pub const ACCESS_TIMED_OUT: u8 = 2;

/// Each of a server's numbers has its own place.
const _: () = {
    let lengths = [
        (SERVER_STAT_OPEN, 1),
        (SERVER_STAT_WEBSOCKETS, 1),
        (SERVER_STAT_ACTIVE, 1),
        (SERVER_STAT_ACCEPTED, 1),
        (SERVER_STAT_REQUESTS, 1),
        (SERVER_STAT_REJECTED, 1),
        (SERVER_STAT_STATUSES, 5),
        (SERVER_STAT_RECEIVED, 1),
        (SERVER_STAT_WRITTEN, 1),
        (SERVER_STAT_MICROS, 1),
        (SERVER_STAT_PENDING, 1),
        (SERVER_STAT_BUFFERED, 1),
        (SERVER_STAT_WAITING, 1),
        (SERVER_STAT_OLDEST, 1),
        (SERVER_STAT_THREADS, 1),
        (
            SERVER_STAT_TIMEOUTS,
            httpkit_core::server::Timeout::ALL.len(),
        ),
        (SERVER_STAT_HANDLER, STAT_BUCKETS),
        (SERVER_STAT_WHOLE, STAT_BUCKETS),
        (SERVER_STAT_TLS, 1),
        (SERVER_STAT_REFUSED, 1),
        (SERVER_STAT_HANDSHAKES, 3),
        (SERVER_STAT_LOGGED, 2),
        (SERVER_STAT_HELD, 1),
        (SERVER_STAT_NATIVE, 1),
    ];
    let (mut next, mut i) = (0, 0);
    while i < lengths.len() {
        assert!(lengths[i].0 == next);
        next += lengths[i].1;
        i += 1;
    }
    assert!(next == SERVER_STATS);
};
