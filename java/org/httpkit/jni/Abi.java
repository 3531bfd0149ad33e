package org.httpkit.jni;

/**
 * Numbers that Java and Rust share; the Rust side is {@code rust/jni/src/border/abi.rs}. {@code
 * tests/abi} compares the two, and fails for a number that nothing here or in {@code clojure} uses
 * by name.
 */
public final class Abi {
    private Abi() {}

    /** Second field of a block of work: a request. */
    public static final int KIND_REQUEST = 1;

    /** Second field of a block of work: a channel's events. */
    public static final int KIND_EVENTS = 2;

    public static final int EVENT_TEXT = 1;
    public static final int EVENT_BINARY = 2;
    public static final int EVENT_HALF_CLOSED = 3;
    public static final int EVENT_CLOSING = 7;
    public static final int EVENT_CLOSED = 8;
    public static final int EVENT_PING = 9;
    public static final int EVENT_PONG = 10;

    /** In place of the index of a method's or header's name: it is none of those. */
    public static final int UNKNOWN_NAME = 255;

    public static final int REQUEST_HTTP11 = 1;
    public static final int REQUEST_UPGRADE = 2;
    public static final int REQUEST_CLOSE = 4;
    public static final int REQUEST_HEAD = 8;
    public static final int REQUEST_PROXIED = 16;
    public static final int REQUEST_TLS = 32;
    public static final int REQUEST_STREAMED = 64;

    public static final int GIVEN_DATE = 1;
    public static final int GIVEN_SERVER = 2;
    public static final int GIVEN_CONNECTION = 4;
    public static final int CLOSE = 8;
    public static final int CORK = 32;
    public static final int OWNED = 128;

    /** In place of a declared length: a response to HEAD declares none. */
    public static final int UNKNOWN_LENGTH = -2;

    /** The first bit of the level at which a response is compressed; 0 for not at all. */
    public static final int GZIP_LEVEL = 8;

    /** The first bit of its window's size, as a power of two. */
    public static final int GZIP_WINDOW = 12;

    /** In place of a WebSocket opcode: one chunk of a stream. */
    public static final int OPCODE_CHUNK = 0;

    public static final int SENT_CLOSED = 0;
    public static final int SENT_ACCEPTED = 1;
    public static final int SENT_FULL = 2;
    public static final int RESPONSE_MORE = 3;
    public static final int RESPONSE_UPGRADED = 4;

    public static final int BODY_END = -1;
    public static final int BODY_LATER = -2;
    public static final int BODY_EARLY = -3;
    public static final int BODY_OVER = -4;
    public static final int BODY_BROKEN = -5;

    public static final int INTEREST_PINGS = 1;
    public static final int INTEREST_PONGS = 2;
    public static final int INTEREST_MANUAL_PONG = 4;

    public static final int NOTICE_VIOLATION = 1;
    public static final int NOTICE_FRAME = 2;
    public static final int NOTICE_REQUEST_REFUSED = 3;
    public static final int NOTICE_EVENTS_REFUSED = 4;
    public static final int NOTICE_ACCEPT = 5;
    public static final int NOTICE_LOOP = 6;
    public static final int NOTICE_FILE = 7;
    public static final int NOTICE_FREED = 8;
    public static final int NOTICE_TIMEOUT = 9;
    public static final int NOTICE_WARNING = 10;
    public static final int NOTICE_HANDSHAKE = 11;

    public static final int ADDRESS_NONE = 0;
    public static final int ADDRESS_INET = 1;
    public static final int ADDRESS_UNIX = 2;
    public static final int ADDRESS_LENT = 3;

    public static final int PROXY_DISABLE = 0;
    public static final int PROXY_ENABLE = 1;
    public static final int PROXY_OPTIONAL = 2;

    public static final int SERVER_TLS_WANT = 1;
    public static final int SERVER_TLS_NEED = 2;
    public static final int SERVER_TLS_12 = 4;
    public static final int SERVER_TLS_13 = 8;
    public static final int SERVER_TLS_REDIRECT = 16;

    /** Bits of a call's spec. */
    public static final int CALL_STREAM = 1;

    public static final int CALL_RAW = 2;
    public static final int CALL_HOSTED = 4;
    public static final int CALL_HOSTED_TLS = 8;

    /** A method, where a call depends on it. */
    public static final int METHOD_OTHER = 0;

    public static final int METHOD_GET = 1;
    public static final int METHOD_HEAD = 2;

    /** How far a server's certificate is checked; none: no TLS. */
    public static final int TLS_NONE = 0;

    public static final int TLS_VERIFY = 1;
    public static final int TLS_VERIFY_CHAIN = 2;
    public static final int TLS_TRUST_ALL = 3;

    /** Ways to a target. An absolute-form proxy is a direct one. */
    public static final int ROUTE_DIRECT = 0;

    public static final int ROUTE_TUNNEL = 1;
    public static final int ROUTE_SOCKS5 = 2;

    /**
     * How the body of a call is sent: it is in memory, or streamed, of known length or in chunks.
     */
    public static final int UPLOAD_WHOLE = 0;

    public static final int UPLOAD_LENGTH = 1;
    public static final int UPLOAD_CHUNKED = 2;

    /** Bits that accompany a response's head, or a decoder's status line. */
    public static final int HEAD_HTTP10 = 1;

    /** Kinds of failed calls; {@link ClientUpcalls#failure} has their exception classes. */
    public static final int FAIL_IO = 1;

    public static final int FAIL_CONNECT = 2;
    public static final int FAIL_SOCKET = 3;
    public static final int FAIL_NO_ROUTE = 4;
    public static final int FAIL_BIND = 5;
    public static final int FAIL_TIMEOUT = 6;
    public static final int FAIL_PROTOCOL = 7;
    public static final int FAIL_LINE_TOO_LARGE = 8;
    public static final int FAIL_HEADERS_TOO_LARGE = 9;
    public static final int FAIL_ABORT = 10;
    public static final int FAIL_ZIP = 11;
    public static final int FAIL_EOF = 12;
    public static final int FAIL_SSL_HANDSHAKE = 13;
    public static final int FAIL_SSL = 14;
    public static final int FAIL_STOPPED = 15;
    public static final int FAIL_CANCELLED = 16;
    public static final int FAIL_HOSTED = 17;
    public static final int FAIL_ARGUMENT = 18;
    public static final int FAIL_INTERNAL = 19;
    public static final int FAIL_TOO_LARGE = 20;
    public static final int FAIL_SOURCE = 21;

    /** Records of a decoder's result. */
    public static final int DECODED_STATUS = 1;

    public static final int DECODED_HEADERS = 2;
    public static final int DECODED_BODY = 3;
    public static final int DECODED_ERROR = 4;
    public static final int DECODED_STATE = 5;

    /** A decoder's state. */
    public static final int STATE_STATUS = 0;

    public static final int STATE_HEADERS = 1;
    public static final int STATE_FIXED = 2;
    public static final int STATE_CHUNK_SIZE = 3;
    public static final int STATE_CHUNK = 4;
    public static final int STATE_CHUNK_END = 5;
    public static final int STATE_TRAILERS = 6;
    public static final int STATE_UNTIL_CLOSE = 7;
    public static final int STATE_DONE = 8;

    /** Codings of {@link NativeClient#decodeContent}. */
    public static final int CODING_GZIP = 1;

    public static final int CODING_DEFLATE = 2;

    /** Indexes of the numbers that {@link NativeClient#clientStats} fills in. */
    public static final int STAT_OPEN = 0;

    public static final int STAT_IDLE = 1;
    public static final int STAT_ACTIVE = 2;
    public static final int STAT_QUEUED = 3;
    public static final int STAT_OPENED = 4;
    public static final int STAT_REQUESTS = 5;
    public static final int STAT_REUSED = 6;
    public static final int STAT_RETRIED = 7;
    public static final int STAT_NATIVE_TLS = 8;
    public static final int STAT_HOSTED = 9;
    public static final int STAT_BUFFERED = 10;
    public static final int STAT_CONNECTING = 11;
    public static final int CLIENT_STATS = 12;

    /** Where {@link Native#serverStats} puts its numbers. */
    public static final int SERVER_STAT_OPEN = 0;

    public static final int SERVER_STAT_WEBSOCKETS = 1;
    public static final int SERVER_STAT_ACTIVE = 2;
    public static final int SERVER_STAT_ACCEPTED = 3;
    public static final int SERVER_STAT_REQUESTS = 4;
    public static final int SERVER_STAT_REJECTED = 5;

    /** Five, by the first digit of the status, from 1 on. */
    public static final int SERVER_STAT_STATUSES = 6;

    public static final int SERVER_STAT_RECEIVED = 11;
    public static final int SERVER_STAT_WRITTEN = 12;

    /** The sum of what the second histogram counts. */
    public static final int SERVER_STAT_MICROS = 13;

    public static final int SERVER_STAT_PENDING = 14;
    public static final int SERVER_STAT_BUFFERED = 15;
    public static final int SERVER_STAT_WAITING = 16;

    /** Milliseconds. */
    public static final int SERVER_STAT_OLDEST = 17;

    public static final int SERVER_STAT_THREADS = 18;

    /** How often each time limit has ended a request or connection. */
    public static final int SERVER_STAT_TIMEOUTS = 19;

    /** Histograms. */
    public static final int SERVER_STAT_HANDLER = 25;

    public static final int SERVER_STAT_WHOLE = 149;

    /** Where each kind of time limit is among those of {@link #SERVER_STAT_TIMEOUTS}. */
    public static final int TIMEOUT_HEADER = 0;

    public static final int TIMEOUT_IDLE = 1;
    public static final int TIMEOUT_BODY = 2;
    public static final int TIMEOUT_WRITE = 3;
    public static final int TIMEOUT_HANDLER = 4;
    public static final int TIMEOUT_WS = 5;

    /** Buckets of a histogram. */
    public static final int STAT_BUCKETS = 124;

    /** Connections with TLS, and those refused for their address. */
    public static final int SERVER_STAT_TLS = 273;

    public static final int SERVER_STAT_REFUSED = 274;

    /** Handshakes: completed, those of them that resumed a session, failed. */
    public static final int SERVER_STAT_HANDSHAKES = 275;

    /** Entries for the access log: added, dropped. */
    public static final int SERVER_STAT_LOGGED = 278;

    /** Bytes of all buffers. */
    public static final int SERVER_STAT_HELD = 280;

    /** Native memory of this library, for all servers and clients. */
    public static final int SERVER_STAT_NATIVE = 281;

    public static final int SERVER_STATS = 282;

    /** How an exchange in the access log has ended. */
    public static final int ACCESS_DONE = 0;

    public static final int ACCESS_ABORTED = 1;
    public static final int ACCESS_TIMED_OUT = 2;
}
