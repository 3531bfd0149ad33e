package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Collection;
import java.util.concurrent.ConcurrentHashMap;

/**
 * A server's channels by handle, from the request until the close event is delivered, and the
 * senders that wait for room on them.
 */
final class Channels {
    private final HttpServer server;
    private final ConcurrentHashMap<Long, AsyncChannel> channels = new ConcurrentHashMap<>();
    private final ConcurrentHashMap<Long, Drain> drains = new ConcurrentHashMap<>();

    Channels(HttpServer server) {
        this.server = server;
    }

    /** The channel of a request whose close event has not been delivered. */
    AsyncChannel make(RequestBlock block) {
        AsyncChannel channel =
                new AsyncChannel(
                        server,
                        block.handle(),
                        server.terms(block).detached(),
                        block.has(Abi.REQUEST_UPGRADE));
        remember(channel);
        return channel;
    }

    /** Closes a new channel if its close event came before it was made, and so is lost. */
    void closeIfOver(AsyncChannel channel) {
        if (!Native.isOpen(channel.handle())) {
            channel.peerClosed(CloseCodes.CLIENT_CLOSE, "");
        }
    }

    void remember(AsyncChannel channel) {
        channels.put(channel.handle(), channel);
    }

    void forget(AsyncChannel channel) {
        forgetClosed(channel);
        Topics.end(channel);
    }

    /** As {@link #forget}, but leaves its topics to the call that runs its close handlers. */
    void forgetClosed(AsyncChannel channel) {
        channels.remove(channel.handle(), channel);
        forgetDrain(channel.handle());
    }

    /**
     * @return null if unknown
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

    /** Nothing is queued any more, and the native side's upcall may find no waiter. */
    void forgetDrain(long exchange) {
        Drain drain = drains.remove(exchange);
        if (drain != null) {
            drain.drained();
        }
    }

    /** Makes blocked senders check again whether the channel is open. */
    void wakeSenders(long exchange) {
        Drain drain = drains.get(exchange);
        if (drain != null) {
            drain.wake();
        }
    }

    /** All sent bytes are written. Called on a loop. */
    void drained(long exchange) {
        Drain drain = drains.get(exchange);
        if (drain != null) {
            drain.drained();
        }
    }
}
