package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.IFn;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.IntSupplier;
import java.util.function.LongToIntFunction;
import java.util.function.Predicate;

/**
 * The sending side of a channel: its phase, and what may be sent next. Sends by several threads are
 * serialised. Nothing here runs the close handlers.
 */
final class Sender {
    private static final int NORMAL = 1000;

    /** Outcome of a send besides {@code Abi.SENT_*}: another thread's send was first. */
    private static final int BEGUN = -1;

    /** It was accepted, and the channel is closed. */
    static final int ENDED = -2;

    /** It was refused, and the channel is closed for that reason. */
    static final int CUT = -3;

    enum Phase {
        /** No response has begun. */
        FRESH,
        STREAMING,
        WEBSOCKET,
        CLOSED
    }

    private final AsyncChannel channel;
    private final HttpServer server;

    /** The exchange's handle; 0 for none. State of one request changes only in {@link #become}. */
    volatile long handle;

    private Terms terms;
    private boolean upgradeRequested;

    /** Guards changes of {@link #phase}. */
    private final ReentrantLock lock = new ReentrantLock();

    private volatile Phase phase;

    /** The thread that runs a handler or callback of this channel: its sends may be corked. */
    private volatile Thread callbackThread;

    private volatile boolean held;
    private volatile boolean upgraded;
    private long pingInterval;
    private long pingTimeout;

    volatile int pendingLimit;
    private volatile Overflow overflow;
    private volatile IFn drainHandler;
    private final AtomicBoolean drainAwaited = new AtomicBoolean();

    /** The channel's {@code :compression}; null for the server's. */
    private volatile Object compression;

    Sender(AsyncChannel channel, long handle, Terms terms, boolean upgradeRequested) {
        this.channel = channel;
        this.server = channel.server;
        this.handle = handle;
        this.terms = terms;
        this.upgradeRequested = upgradeRequested;
        this.phase = handle == 0 ? Phase.CLOSED : Phase.FRESH;
        this.callbackThread = Thread.currentThread();
        this.pendingLimit = server == null ? 0 : server.options.maxPendingBytes;
        this.overflow = server == null ? Overflow.REJECT : server.options.overflow;
    }

    /** See {@link AsyncChannel#watchPeer}. */
    boolean watchPeer() {
        held = true;
        return Native.watchPeer(handle);
    }

    /**
     * Asking about the peer, or setting a close handler, holds the channel. @return if it is there
     */
    boolean isHeld() {
        return held ? Native.isOpen(handle) : watchPeer();
    }

    /**
     * @return {@code Abi.SENT_*}, {@link #ENDED} or {@link #CUT}; see {@link AsyncChannel#send}
     */
    int send(Object data, boolean close) throws IOException {
        int sent = phase == Phase.FRESH ? sendFirst(data, close) : BEGUN;
        return sent == BEGUN ? sendLater(data, close) : sent;
    }

    /** Sends a chunk or a frame, and applies the overflow policy when there is no room. */
    private int sendLater(Object data, boolean close) throws IOException {
        IntSupplier piece = piece(data);
        int sent = sendNow(piece, close);
        return sent == Abi.SENT_FULL ? overflowed(piece, close, overflow) : sent;
    }

    private int overflowed(IntSupplier piece, boolean close, Overflow policy) {
        switch (policy) {
            case BLOCK:
                // Without the lock, so that closing does not wait for a blocked sender.
                return insist(() -> sendNow(piece, close));
            case REJECT:
                if (drainHandler != null && drainAwaited.compareAndSet(false, true)) {
                    whenFlushed(this::callDrainHandler);
                }
                return Abi.SENT_CLOSED;
            default:
                return cut();
        }
    }

    /**
     * What a broadcast must know, see {@link Native#broadcast}. @param given see {@link #settle}
     */
    long sendingTerms(Overflow given) {
        return (long) flags(given == null ? overflow : given) << 32 | pendingLimit;
    }

    /**
     * Completes a send that a broadcast has made.
     *
     * @param sent its outcome, {@code Abi.SENT_*}
     * @param given in place of the channel's policy, not {@code BLOCK}; or null
     * @return as {@link #send}
     */
    int settle(int sent, Piece piece, boolean close, Overflow given) {
        if (sent == Abi.SENT_FULL) {
            return overflowed(piece.to(this), close, given == null ? overflow : given);
        }
        return sent == Abi.SENT_ACCEPTED && close && end() ? ENDED : sent;
    }

    private boolean end() {
        lock.lock();
        try {
            return phase != Phase.CLOSED && endNow();
        } finally {
            lock.unlock();
        }
    }

    private int insist(IntSupplier send) {
        int sent = server.channels.drain(handle).insist(send);
        if (sent == Abi.SENT_CLOSED) {
            // The closing thread may have been here already, see whenFlushed.
            server.channels.forgetDrain(handle);
        }
        return sent;
    }

    private int sendNow(IntSupplier piece, boolean close) {
        lock.lock();
        try {
            if (phase == Phase.CLOSED) {
                return Abi.SENT_CLOSED;
            }
            int sent = piece.getAsInt();
            return sent == Abi.SENT_ACCEPTED && close && endNow() ? ENDED : sent;
        } finally {
            lock.unlock();
        }
    }

    private boolean endNow() {
        if (phase == Phase.WEBSOCKET) {
            return closeWebSocket(NORMAL, "");
        }
        Native.endStream(handle);
        phase = Phase.CLOSED;
        return true;
    }

    private int cut() {
        if (!closeIf(now -> now != Phase.CLOSED)) {
            return Abi.SENT_CLOSED;
        }
        Native.abort(handle);
        return CUT;
    }

    int flags() {
        return flags(overflow);
    }

    private int flags(Overflow policy) {
        return (Thread.currentThread() == callbackThread ? Abi.CORK : 0)
                | (policy == Overflow.BLOCK ? Abi.INSIST : 0);
    }

    private int sendFirst(Object data, boolean close) throws IOException {
        ResponseWriter out = server.writers.borrow();
        lock.lock();
        try {
            if (phase != Phase.FRESH) {
                return BEGUN;
            }
            out.channel(data, terms, compression);
            if (out.ignoredStatus != null) {
                server.responseWarnings.ignoredStatus("send!", out.ignoredStatus);
            }
            boolean whole =
                    close
                            || upgradeRequested
                            || out.declared >= 0
                            || ResponseWriter.isBodyless(out.status);
            if (whole) {
                if (!Responses.send(handle, out)) {
                    return Abi.SENT_CLOSED;
                }
                phase = Phase.CLOSED;
                return ENDED;
            }
            int sent = startStream(out);
            if (sent == Abi.SENT_ACCEPTED && terms.head) {
                // The response to HEAD ends with the head, and the length is unknown.
                Native.endStream(handle);
                phase = Phase.CLOSED;
                return ENDED;
            }
            if (sent == Abi.SENT_ACCEPTED) {
                phase = Phase.STREAMING;
            }
            return sent;
        } finally {
            lock.unlock();
            server.writers.giveBack(out);
        }
    }

    private int startStream(ResponseWriter out) {
        if (!terms.head) {
            watchPeer();
        }
        out.codeStream();
        return out.large != null
                ? Responses.start(handle, out, out.large, out.largeStart, out.largeLength)
                : Responses.start(handle, out, out.buffer, out.head, out.body);
    }

    /** An action that sends {@code data} as one chunk or frame. */
    private IntSupplier piece(Object data) throws IOException {
        switch (phase) {
            case WEBSOCKET:
                return call(Piece.frame(data));
            case STREAMING:
                return call(Piece.chunk(data));
            default:
                return () -> Abi.SENT_CLOSED;
        }
    }

    private IntSupplier call(Piece piece) {
        return piece == null ? this::nothing : piece.to(this);
    }

    /** Sends nothing, which an open channel accepts. */
    private int nothing() {
        return Native.isOpen(handle) ? Abi.SENT_ACCEPTED : Abi.SENT_CLOSED;
    }

    private void callDrainHandler() {
        drainAwaited.set(false);
        channel.callback(drainHandler, channel);
    }

    /** See {@link AsyncChannel#whenFlushed}. */
    void whenFlushed(Runnable task) {
        server.channels.drain(handle).whenDrained(task);
        if (!Native.isOpen(handle)) {
            // The closing thread may have been here already.
            server.channels.forgetDrain(handle);
        }
    }

    /** See {@link AsyncChannel#boundPending}. */
    void boundPending(int limit, Overflow policy, IFn onDrain) {
        if (limit > 0) {
            pendingLimit = limit;
        }
        if (policy != null) {
            overflow = policy;
        }
        drainHandler = onDrain;
    }

    /** See {@link AsyncChannel#compress}. */
    void compress(Object option) {
        compression = option;
    }

    /** See {@link AsyncChannel#compressesEvents}. */
    boolean compressesEvents() {
        return ResponseCoding.isForEvents(compression, terms);
    }

    void keepAlive(long intervalMillis, long timeoutMillis) {
        pingInterval = intervalMillis;
        pingTimeout = timeoutMillis;
    }

    /**
     * @return whether this call closed the channel; see {@link AsyncChannel#serverClose(int,
     *     String)}
     */
    boolean close(int status, String reason) {
        lock.lock();
        try {
            boolean closes;
            switch (phase) {
                case WEBSOCKET:
                    CloseCodes.check(status, reason);
                    closes = closeWebSocket(status, reason);
                    break;
                case STREAMING:
                    closes = Native.endStream(handle) != Abi.SENT_CLOSED;
                    break;
                case FRESH:
                    closes = closeWithoutResponse();
                    break;
                default:
                    return false;
            }
            if (closes) {
                phase = Phase.CLOSED;
            }
            return closes;
        } finally {
            lock.unlock();
        }
    }

    /** Nothing was sent: sends an empty response or, with HTTP/1.0, just closes the connection. */
    private boolean closeWithoutResponse() {
        ResponseWriter out = server.writers.borrow();
        try {
            out.plain(200, "", false);
            return terms.http10 ? Native.abort(handle) : Responses.send(handle, out);
        } finally {
            server.writers.giveBack(out);
        }
    }

    private boolean closeWebSocket(int code, String reason) {
        if (!Native.closeWebSocket(handle, code, reason.getBytes(UTF_8))) {
            return false;
        }
        phase = Phase.CLOSED;
        return true;
    }

    /** See {@link AsyncChannel#respond}. @return whether that closed the channel */
    boolean respond(LongToIntFunction send) {
        lock.lock();
        try {
            if (phase != Phase.FRESH) {
                return false;
            }
            int sent = send.applyAsInt(handle);
            if (sent == Abi.RESPONSE_UPGRADED) {
                phase = Phase.WEBSOCKET;
                upgraded = true;
            }
            if (sent != Abi.SENT_ACCEPTED) {
                return false;
            }
            phase = Phase.CLOSED;
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** See {@link AsyncChannel#sendHandshake}. */
    void handshake(Map<String, Object> headers) {
        ResponseWriter out = server.writers.borrow();
        lock.lock();
        try {
            out.lines(headers);
            int hear = channel.hear();
            if (phase == Phase.FRESH
                    && Native.upgrade(
                            handle, out.buffer, out.head, hear, pingInterval, pingTimeout)) {
                phase = Phase.WEBSOCKET;
                upgraded = true;
            }
        } finally {
            lock.unlock();
            server.writers.giveBack(out);
        }
    }

    /** Closes the channel if nothing was sent on it. @return whether it did */
    boolean takeFresh() {
        return closeIf(now -> now == Phase.FRESH);
    }

    /** The peer has disconnected. @return whether the channel was open */
    boolean peerLeft() {
        return closeIf(now -> now != Phase.CLOSED);
    }

    private boolean closeIf(Predicate<Phase> condition) {
        lock.lock();
        try {
            boolean closes = condition.test(phase);
            if (closes) {
                phase = Phase.CLOSED;
            }
            return closes;
        } finally {
            lock.unlock();
        }
    }

    boolean isStreaming() {
        return is(Phase.STREAMING);
    }

    /** The phase, which may change at any time. */
    Phase phase() {
        return phase;
    }

    boolean isFresh() {
        return is(Phase.FRESH);
    }

    private boolean is(Phase wanted) {
        lock.lock();
        try {
            return phase == wanted;
        } finally {
            lock.unlock();
        }
    }

    boolean isUpgradeRequested() {
        return upgradeRequested;
    }

    /** Whether it has been a WebSocket. */
    boolean isUpgraded() {
        return upgraded;
    }

    void enterCallback() {
        callbackThread = Thread.currentThread();
    }

    void leaveCallback() {
        leaveCallback(0);
    }

    /** Uncorks, unless that is left to {@link Native#takeEvents} of the same handle. */
    void leaveCallback(long taken) {
        callbackThread = null;
        if (handle != taken) {
            Native.uncork(handle);
        }
    }

    /** A closed WebSocket is remembered until its last queued message has been delivered. */
    void forgetClosed() {
        if (upgraded) {
            server.channels.wakeSenders(handle);
        } else {
            server.channels.forget(channel);
        }
    }

    /**
     * Switches to another request, if this channel is closed.
     *
     * @param before runs before the handle changes
     * @param after runs after that
     * @return false if this channel is not closed
     */
    boolean become(Sender other, Runnable before, Runnable after) {
        lock.lock();
        try {
            if (phase != Phase.CLOSED) {
                return false;
            }
            before.run();
            terms = other.terms;
            upgradeRequested = other.upgradeRequested;
            callbackThread = other.callbackThread;
            drainHandler = null;
            compression = null;
            upgraded = false;
            handle = other.handle;
            phase = other.takeFresh() ? Phase.FRESH : Phase.CLOSED;
            after.run();
            return true;
        } finally {
            lock.unlock();
        }
    }
}
