package org.httpkit.jni;

/**
 * Numbers that Java and Rust share; the Rust side is {@code rust/jni/src/abi.rs}, and {@code
 * tests/abi} compares the two.
 */
public final class Abi {
    private Abi() {}

    /** Second field of a block of work: a request. */
    public static final int KIND_REQUEST = 1;
    /** Second field of a block of work: a channel's events. */
    public static final int KIND_EVENTS = 2;

    public static final int EVENT_TEXT = 1;
    public static final int EVENT_BINARY = 2;
    public static final int EVENT_CLOSED = 8;
    public static final int EVENT_PING = 9;
    public static final int EVENT_PONG = 10;

    public static final int REQUEST_HTTP11 = 1;
    public static final int REQUEST_UPGRADE = 2;
    public static final int REQUEST_CLOSE = 4;
    public static final int REQUEST_HEAD = 8;
    public static final int REQUEST_PROXIED = 16;

    public static final int GIVEN_DATE = 1;
    public static final int GIVEN_SERVER = 2;
    public static final int GIVEN_CONNECTION = 4;
    public static final int CLOSE = 8;
    public static final int CORK = 32;

    public static final int SENT_CLOSED = 0;
    public static final int SENT_ACCEPTED = 1;
    public static final int SENT_FULL = 2;
    public static final int ANSWER_MORE = 3;

    public static final int HEAR_PINGS = 1;
    public static final int HEAR_PONGS = 2;
    public static final int MANUAL_PONG = 4;

    public static final int NOTICE_VIOLATION = 1;
    public static final int NOTICE_FRAME = 2;
    public static final int NOTICE_REQUEST_REFUSED = 3;
    public static final int NOTICE_EVENTS_REFUSED = 4;
    public static final int NOTICE_ACCEPT = 5;
    public static final int NOTICE_LOOP = 6;

    public static final int ADDRESS_INET = 1;
    public static final int ADDRESS_UNIX = 2;

    public static final int PROXY_DISABLE = 0;
    public static final int PROXY_ENABLE = 1;
    public static final int PROXY_OPTIONAL = 2;

    public static final int MODE_PULL = 0;
    public static final int MODE_PUSH = 1;

    public static final int OPEN_MAX_LINE = 0;
    public static final int OPEN_MAX_BODY = 1;
    public static final int OPEN_MAX_MESSAGE = 2;
    public static final int OPEN_PROXY = 3;
    public static final int OPEN_PENDING_MESSAGES = 4;
    public static final int OPEN_BACKLOG = 5;
    public static final int OPEN_MODE = 6;
    public static final int OPEN_QUEUE = 7;
    public static final int OPEN_RECEIVE_BUFFER = 8;
    public static final int OPEN_REUSE_PORT = 9;
    public static final int OPEN_NUMBERS = 10;
}
