package org.httpkit.server;

import clojure.lang.IFn;

import org.httpkit.jni.Abi;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import java.util.function.IntSupplier;

/** How much a channel may have unsent, and what happens beyond that. */
final class Room {
    private final AsyncChannel channel;
    private volatile int limit;
    private volatile Overflow policy;
    private volatile IFn drainHandler;
    private final AtomicBoolean drainAwaited = new AtomicBoolean();

    Room(AsyncChannel channel) {
        this.channel = channel;
        HttpServer server = channel.server;
        this.limit = server == null ? 0 : server.options.maxPendingBytes;
        this.policy = server == null ? Overflow.REJECT : server.options.overflow;
    }

    /** Bytes at which the native side refuses a send. */
    int limit() {
        return limit;
    }

    Overflow policy() {
        return policy;
    }

    /** See {@link AsyncChannel#boundPending}. */
    void bound(int limit, Overflow policy, IFn onDrain) {
        if (limit > 0) {
            this.limit = limit;
        }
        if (policy != null) {
            this.policy = policy;
        }
        drainHandler = onDrain;
    }

    /** The channel becomes that of another request. */
    void reset() {
        drainHandler = null;
    }

    /** Repeats {@code send} until there is room for it, or the channel is closed. */
    int insist(IntSupplier send) {
        int sent = channel.server.channels.drain(channel.handle()).insist(send);
        if (sent == Abi.SENT_CLOSED) {
            // The closing thread may have been here already.
            channel.server.channels.forgetDrain(channel.handle());
        }
        return sent;
    }

    /** A send was refused: the drain handler is called once there is room. */
    void rejected() {
        if (drainHandler != null && drainAwaited.compareAndSet(false, true)) {
            whenFlushed(written -> callDrainHandler());
        }
    }

    private void callDrainHandler() {
        drainAwaited.set(false);
        if (!channel.isClosed()) {
            channel.callback(drainHandler, channel);
        }
    }

    /** See {@link AsyncChannel#whenFlushed}. */
    void whenFlushed(Consumer<Boolean> task) {
        if (channel.server == null) {
            task.accept(false);
        } else {
            channel.server.channels.whenDrained(channel.handle(), task);
        }
    }
}
