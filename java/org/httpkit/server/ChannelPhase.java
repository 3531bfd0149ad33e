package org.httpkit.server;

/** What a channel may send. */
enum ChannelPhase {
    /** No response has begun. */
    FRESH,
    STREAMING,
    WEBSOCKET,
    CLOSED
}
