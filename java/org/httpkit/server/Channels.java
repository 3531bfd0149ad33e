package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Collection;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A server's channels by their handles, from a request until the closing is heard, and who waits
 * for room on them.
 */
final class Channels {
    private final HttpServer server;
    private final ConcurrentHashMap<Long, AsyncChannel> channels = new ConcurrentHashMap<>();
    private final ConcurrentHashMap<Long, Drain> drains = new ConcurrentHashMap<>();

    Channels(HttpServer server) {
        this.server = server;
    }

    /** The channel of a request, made when it is asked for. */
    AsyncChannel make(RequestBlock block) {
        AsyncChannel channel = makeUnclosed(block);
        if (!Native.isOpen(block.handle())) {
            // Its closing may have come before it was there to hear it, and does not come again.
            channel.peerClosed(CloseCodes.CLIENT_CLOSE, "");
        }
        return channel;
    }

    /** The channel of a request whose closing is yet to be heard of. */
    AsyncChannel makeUnclosed(RequestBlock block) {
        AsyncChannel channel =
                new AsyncChannel(
                        server,
                        block.handle(),
                        server.terms(block),
                        block.has(Abi.REQUEST_UPGRADE));
        remember(channel);
        return channel;
    }

    void remember(AsyncChannel channel) {
        channels.put(channel.handle(), channel);
    }

    void forget(AsyncChannel channel) {
        channels.remove(channel.handle(), channel);
        forgetDrain(channel.handle());
    }

    /**
     * @return null for one that is not remembered
     */
    AsyncChannel get(long handle) {
        return channels.get(handle);
    }

    Collection<AsyncChannel> all() {
        return channels.values();
    }

    int count() {
        return channels.size();
    }

    Drain drain(long exchange) {
        return drains.computeIfAbsent(exchange, key -> new Drain(server, key));
    }

    /** Nothing waits to be written any more; the native side's word on that may find no one now. */
    void forgetDrain(long exchange) {
        Drain drain = drains.remove(exchange);
        if (drain != null) {
            drain.drained();
        }
    }

    /** Senders that wait for room check again whether the channel is still there. */
    void wakeSenders(long exchange) {
        Drain drain = drains.get(exchange);
        if (drain != null) {
            drain.wake();
        }
    }

    /** All that was sent is written. Called on a loop. */
    void drained(long exchange) {
        Drain drain = drains.get(exchange);
        if (drain != null) {
            drain.drained();
        }
    }
}
