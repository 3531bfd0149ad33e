package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Collection;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

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
                        block.has(Abi.REQUEST_UPGRADE),
                        block.ends());
        remember(channel);
        return channel;
    }

    /** Closes a new channel if its close event came before it was made, and so is lost. */
    void closeIfOver(AsyncChannel channel) {
        if (!Native.isOpen(channel.handle())) {
            channel.lastEvent(CloseCodes.CLIENT_CLOSE, "");
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

    /** Calls {@code task} as {@link AsyncChannel#whenFlushed} says. */
    void whenDrained(long exchange, Consumer<Boolean> task) {
        drains.compute(
                exchange,
                (key, known) -> {
                    Drain drain = known == null ? new Drain(server, key) : known;
                    drain.add(task);
                    return drain;
                });
        int sent = Native.whenDrained(exchange);
        if (sent != Abi.SENT_FULL) {
            drained(exchange, sent == Abi.SENT_ACCEPTED);
        }
        if (!channels.containsKey(exchange)) {
            // The closing thread may have been here already.
            forgetDrain(exchange);
        }
    }

    /** The exchange is over, but what was sent may still be written: then the native side tells. */
    void forgetDrain(long exchange) {
        wakeSenders(exchange);
        drains.computeIfPresent(exchange, (key, drain) -> drain.isAwaited() ? drain : null);
    }

    /** Makes blocked senders check again whether the channel is open. */
    void wakeSenders(long exchange) {
        Drain drain = drains.get(exchange);
        if (drain != null) {
            drain.wake();
        }
    }

    /** All sent bytes are written, or else lost. May be called on a loop. */
    void drained(long exchange, boolean written) {
        Drain drain = drains.get(exchange);
        if (drain != null && drain.drained(written) && !channels.containsKey(exchange)) {
            forgetDrain(exchange);
        }
    }
}
