package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.IFn;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.util.Map;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.IntSupplier;
import java.util.function.LongToIntFunction;
import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * What a handler answers through: one HTTP exchange, or a WebSocket.
 *
 * <p>Thread safe. One {@code send} is one contiguous chunk or frame; sends never block. Once it is
 * closed it stays closed; the next request on the connection has a channel of its own.
 */
public class AsyncChannel {
    private static final int NORMAL = 1000;
    private static final int MAX_REASON = 123;
    private static final int MAX_CONTROL = 125;
    private static final int SERVER_CLOSE = 0;

    /** Outcomes of a send besides {@code Abi.SENT_*}: another thread's send was the first. */
    private static final int BEGUN = -1;
    /** It was accepted, and the channel is closed. */
    private static final int ENDED = -2;
    /** It was refused, and the channel is closed for that. */
    private static final int CUT = -3;

    /** Whether the channel is closed; set just before the close handlers run, once the cause is. */
    public final AtomicBoolean closedRan = new AtomicBoolean();

    private final AtomicBoolean closeReported = new AtomicBoolean();
    /** An embedder has heard that the peer is gone, or has ended its side. */
    private final AtomicBoolean embedderTold = new AtomicBoolean();

    /** This and what else is of one request changes in {@link #reset} only. */
    volatile long handle;

    private final HttpServer server;
    private Terms terms;
    private boolean upgradeRequested;

    /** Guards changes of {@link #phase}, so that sends of several threads follow each other. */
    private final ReentrantLock lock = new ReentrantLock();

    private volatile Phase phase = Phase.FRESH;
    /** The thread that runs the handler or a callback of this channel: its sends may be gathered. */
    private volatile Thread callbackThread;

    /** Whether a thread runs callbacks for events that it has taken. */
    volatile boolean hearing;
    /** What tells its close handlers, once it is closed and a callback goes on; see {@link LateClosing}. */
    volatile FutureTask<?> closing;

    private volatile IFn receiveHandler;
    private volatile IFn pingHandler;
    private volatile IFn pongHandler;
    /** Set before {@link #closedRan} is looked at, and the other way round in {@link #closed}. */
    private volatile IFn closeHandler;

    private volatile IFn closeRingHandler;
    private final AtomicBoolean closeHandlerRan = new AtomicBoolean();
    private final AtomicBoolean closeRingHandlerRan = new AtomicBoolean();
    private boolean manualPong;
    private volatile int pendingLimit;
    private volatile Overflow overflow;
    private volatile IFn drainHandler;
    private final AtomicBoolean drainAwaited = new AtomicBoolean();
    private long pingInterval;
    private long pingTimeout;
    private volatile boolean held;
    private volatile boolean upgraded;
    private volatile int closeCause;
    private volatile int closeCode;
    private volatile String closeReason = "";
    /** Both ends' addresses in their native form, a sixth of the size of Java's; null without any. */
    private byte[] ends;

    private enum Phase {
        /** Nothing is answered yet. */
        FRESH,
        STREAMING,
        WEBSOCKET,
        CLOSED
    }

    /** A channel without a connection, closed from the start: there are no selection keys any more. */
    public AsyncChannel(SelectionKey key, HttpServer server) {
        this(server, 0, Terms.NONE, false);
        phase = Phase.CLOSED;
    }

    AsyncChannel(
            HttpServer server, long handle, Terms terms, boolean upgradeRequested) {
        this.server = server;
        this.handle = handle;
        this.terms = terms;
        this.upgradeRequested = upgradeRequested;
        this.callbackThread = Thread.currentThread();
        this.pendingLimit = server == null ? 0 : server.options.maxPendingBytes;
        this.overflow = server == null ? Overflow.REJECT : server.options.overflow;
        this.ends = handle == 0 ? null : Native.addresses(handle);
    }

    /**
     * The handler keeps the exchange: from now on a peer that leaves closes the channel, even if it
     * only ends its own side.
     *
     * @return false if it has left
     */
    public boolean hold() {
        held = true;
        return Native.hold(handle);
    }

    /** Passes a warning to the server's logger; never throws. */
    public void logWarning(String message, Throwable error) {
        if (server != null) {
            server.logWarning(message, error);
        }
    }

    /** Who asks for the peer, or for the closing, holds the channel. @return whether the peer is there */
    private boolean isHeld() {
        return held ? Native.isOpen(handle) : hold();
    }

    /**
     * Sends.
     *
     * <p>On HTTP, the first send starts the response: a map with {@code :status}, {@code :headers}
     * and {@code :body}, or just a body. Later ones are chunks. On a WebSocket it is one message or
     * control frame.
     *
     * @param close whether the channel is closed after it
     * @return whether it was accepted; false if the channel is closed
     * @throws IllegalArgumentException for what cannot be sent; the channel stays open
     */
    public boolean send(Object data, boolean close) throws IOException {
        int sent = phase == Phase.FRESH ? sendFirst(data, close) : BEGUN;
        if (sent == BEGUN) {
            sent = sendLater(data, close);
        }
        if (sent == ENDED || sent == CUT) {
            closed(SERVER_CLOSE, SERVER_CLOSE, "", true);
        }
        return sent == Abi.SENT_ACCEPTED || sent == ENDED;
    }

    /** Sends a chunk or a frame, and does what was asked for when there is no room. */
    private int sendLater(Object data, boolean close) throws IOException {
        IntSupplier piece = piece(data);
        int sent = sendNow(piece, close);
        if (sent != Abi.SENT_FULL) {
            return sent;
        }
        switch (overflow) {
            case BLOCK:
                // Without the lock: closing does not wait for a sender that waits.
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

    private int insist(IntSupplier send) {
        int sent = server.channels.drain(handle).insist(send);
        if (sent == Abi.SENT_CLOSED) {
            // Whoever closed it may have been here before, see whenFlushed.
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
        Native.end(handle);
        phase = Phase.CLOSED;
        return true;
    }

    private int cut() {
        lock.lock();
        try {
            if (phase == Phase.CLOSED) {
                return Abi.SENT_CLOSED;
            }
            phase = Phase.CLOSED;
        } finally {
            lock.unlock();
        }
        Native.abort(handle);
        return CUT;
    }

    private static Object bodyOf(Object data) {
        return data instanceof Map ? ((Map<?, ?>) data).get(ResponseWriter.BODY) : data;
    }

    private int flags() {
        return (Thread.currentThread() == callbackThread ? Abi.CORK : 0)
                | (overflow == Overflow.BLOCK ? Abi.INSIST : 0);
    }

    private int sendFirst(Object data, boolean close) throws IOException {
        ResponseWriter out = server.writers.borrow();
        lock.lock();
        try {
            if (phase != Phase.FRESH) {
                return BEGUN;
            }
            out.channel(data, terms);
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
                // The head is all that HEAD gets, and nobody knows the length.
                Native.end(handle);
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
            hold();
        }
        boolean large = out.large != null;
        return Native.stream(
                handle,
                out.status,
                out.flags,
                out.buffer,
                out.head,
                large ? out.large : out.buffer,
                large ? out.largeStart : out.head,
                large ? out.largeLength : out.body);
    }

    /** What sends {@code data} as one chunk or frame, as often as it is refused for want of room. */
    private IntSupplier piece(Object data) throws IOException {
        switch (phase) {
            case WEBSOCKET:
                return frame(data);
            case STREAMING:
                return chunk(bodyOf(data));
            default:
                return () -> Abi.SENT_CLOSED;
        }
    }

    private IntSupplier chunk(Object body) throws IOException {
        if (body == null) {
            return this::nothing;
        }
        ByteBuffer bytes = HttpUtils.bodyBuffer(body);
        if (!bytes.hasRemaining()) {
            return this::nothing;
        }
        byte[] array = array(bytes);
        int start = bytes.hasArray() ? bytes.arrayOffset() + bytes.position() : 0;
        int flags = flags();
        int length = bytes.remaining();
        return () -> Native.chunk(handle, array, start, length, flags, pendingLimit);
    }

    /** Sends nothing, which an open channel takes. */
    private int nothing() {
        return Native.isOpen(handle) ? Abi.SENT_ACCEPTED : Abi.SENT_CLOSED;
    }

    private static byte[] array(ByteBuffer bytes) {
        if (bytes.hasArray()) {
            return bytes.array();
        }
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        return copy;
    }

    private IntSupplier frame(Object data) throws IOException {
        Object payload = bodyOf(data);
        if (payload == null && data != null) {
            throw new IllegalArgumentException("only the :body of a map is sent, and it has none");
        }
        if (payload == null) {
            return this::nothing;
        } else if (payload instanceof String) {
            return frame(WSDecoder.OPCODE_TEXT, ((String) payload).getBytes(UTF_8));
        } else if (payload instanceof byte[]) {
            return frame(WSDecoder.OPCODE_BINARY, (byte[]) payload);
        } else if (payload instanceof java.io.InputStream) {
            return frame(WSDecoder.OPCODE_BINARY, array(HttpUtils.bodyBuffer(payload)));
        } else if (payload instanceof Frame.PingFrame) {
            return control(WSDecoder.OPCODE_PING, ((Frame) payload).data);
        } else if (payload instanceof Frame.PongFrame) {
            return control(WSDecoder.OPCODE_PONG, ((Frame) payload).data);
        }
        throw new IllegalArgumentException(
                "cannot send a " + payload.getClass().getName() + " on a WebSocket:"
                        + " expected a String, byte[], InputStream, PingFrame or PongFrame");
    }

    private IntSupplier control(int opcode, byte[] payload) {
        if (payload.length > MAX_CONTROL) {
            throw new IllegalArgumentException(
                    "a control frame's payload has at most 125 bytes, this one " + payload.length);
        }
        return frame(opcode, payload);
    }

    private IntSupplier frame(int opcode, byte[] payload) {
        int flags = flags();
        return () ->
                Native.message(handle, opcode, payload, 0, payload.length, flags, pendingLimit);
    }

    private void callDrainHandler() {
        drainAwaited.set(false);
        callback(drainHandler, this);
    }

    /** Runs {@code task} on the worker pool once all that was sent has been written, or is lost. */
    public void whenFlushed(Runnable task) {
        server.channels.drain(handle).whenDrained(task);
        if (!Native.isOpen(handle)) {
            // Whoever closed it may have been here before.
            server.channels.forgetDrain(handle);
        }
    }

    /** @return bytes that were accepted and wait for the peer to read */
    public long pendingBytes() {
        return Native.pendingBytes(handle);
    }

    /**
     * Bounds what may wait for the peer. A send is refused only while earlier bytes wait, so that
     * one large message always passes.
     *
     * @param limit bytes; 0 keeps the server's
     * @param policy null keeps the server's
     * @param onDrain (fn [channel]), called on the worker pool when what made a send fail has been
     *     written; or null
     */
    public void boundPending(int limit, Overflow policy, IFn onDrain) {
        if (limit > 0) {
            pendingLimit = limit;
        }
        if (policy != null) {
            overflow = policy;
        }
        drainHandler = onDrain;
    }

    /** The server pings the peer by itself. To be set before the handshake. */
    public void keepAlive(long intervalMillis, long timeoutMillis) {
        pingInterval = intervalMillis;
        pingTimeout = timeoutMillis;
    }

    /** Closes normally, see {@link #serverClose(int, String)}. */
    public boolean serverClose(int status) {
        return serverClose(status, "");
    }

    /**
     * Closes the channel: ends the response, or starts the WebSocket close handshake with this code
     * and reason. On HTTP both are ignored.
     *
     * @return true for the call that closed it
     * @throws IllegalArgumentException for a code that must not be sent (RFC 6455 7.4) or a reason
     *     of more than 123 bytes; the channel stays open
     */
    public boolean serverClose(int status, String reason) {
        int reported = SERVER_CLOSE;
        String reportedReason = "";
        lock.lock();
        try {
            switch (phase) {
                case WEBSOCKET:
                    check(status, reason);
                    if (!closeWebSocket(status, reason)) {
                        return false;
                    }
                    reported = status;
                    reportedReason = reason;
                    break;
                case STREAMING:
                    if (Native.end(handle) == Abi.SENT_CLOSED) {
                        return false;
                    }
                    break;
                case FRESH:
                    if (!closeUnanswered()) {
                        return false;
                    }
                    break;
                default:
                    return false;
            }
            phase = Phase.CLOSED;
        } finally {
            lock.unlock();
        }
        closed(SERVER_CLOSE, reported, reportedReason, true);
        return true;
    }

    /** Nothing was sent: an empty answer, or with HTTP/1.0 just the end of the connection. */
    private boolean closeUnanswered() {
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

    private static void check(int status, String reason) {
        boolean reserved = status >= 1004 && status <= 1006 || status == 1015;
        if (status < 1000 || status > 4999 || reserved) {
            throw new IllegalArgumentException("close code " + status + " must not be sent");
        }
        int length = reason.getBytes(UTF_8).length;
        if (length > MAX_REASON) {
            throw new IllegalArgumentException(
                    "a close reason has at most 123 bytes in UTF-8, this one " + length);
        }
    }

    /** Cuts the TCP connection at once. @return true if it was still there */
    public boolean abort() {
        return Native.abort(handle);
    }

    /**
     * Answers with what {@code send} sends for a handle, see {@link Native#answerEncoded}; not if
     * something was sent before.
     */
    void answer(LongToIntFunction send) {
        lock.lock();
        try {
            if (phase != Phase.FRESH) {
                return;
            }
            int sent = send.applyAsInt(handle);
            if (sent == Abi.ANSWER_UPGRADED) {
                phase = Phase.WEBSOCKET;
                upgraded = true;
            }
            if (sent != Abi.SENT_ACCEPTED) {
                return;
            }
            phase = Phase.CLOSED;
        } finally {
            lock.unlock();
        }
        closed(SERVER_CLOSE, SERVER_CLOSE, "", false);
    }

    /**
     * The handler has returned, with an answer of its own or not.
     *
     * @return whether its answer is to be sent: not if the channel has begun one
     */
    boolean handlerReturned(boolean answered) {
        boolean send = answered && takeFresh();
        leaveCallback();
        if (send) {
            // Its answer has yet to be sent: a failing close handler must not lose it.
            closed(SERVER_CLOSE, SERVER_CLOSE, "", false);
        } else if (isFresh()) {
            hold();
        }
        return send;
    }

    /**
     * The handler has thrown.
     *
     * @return whether a 500 is to be sent. If an answer has begun, the peer sees that it is cut; a
     *     WebSocket stays open, as after any failing callback.
     */
    boolean handlerFailed() {
        // If the peer has left, there is nothing to answer: the closing is heard as ever.
        boolean send = Native.isOpen(handle) && takeFresh();
        leaveCallback();
        if (send) {
            closeReported.set(true);
            closedRan.set(true);
            server.channels.forget(this);
        } else if (isStreaming()) {
            Native.abort(handle);
        }
        return send;
    }

    /** Closes the channel if nothing was sent on it. */
    private boolean takeFresh() {
        lock.lock();
        try {
            boolean fresh = phase == Phase.FRESH;
            if (fresh) {
                phase = Phase.CLOSED;
            }
            return fresh;
        } finally {
            lock.unlock();
        }
    }

    boolean isStreaming() {
        return is(Phase.STREAMING);
    }

    private boolean isFresh() {
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

    void enterCallback() {
        callbackThread = Thread.currentThread();
    }

    void leaveCallback() {
        callbackThread = null;
        Native.settle(handle);
    }

    /** Answers 101 with these headers; the channel is a WebSocket from then on. */
    public void sendHandshake(Map<String, Object> headers) {
        ResponseWriter out = server.writers.borrow();
        lock.lock();
        try {
            out.lines(headers);
            if (phase == Phase.FRESH && upgrade(out)) {
                phase = Phase.WEBSOCKET;
                upgraded = true;
            }
        } finally {
            lock.unlock();
            server.writers.giveBack(out);
        }
    }

    private boolean upgrade(ResponseWriter out) {
        return Native.upgrade(handle, out.buffer, out.head, hear(), pingInterval, pingTimeout);
    }

    int hear() {
        if (server != null && server.embedded != null) {
            return Abi.HEAR_PINGS | Abi.HEAR_PONGS; // they are frames to its handler
        }
        return (pingHandler != null ? Abi.HEAR_PINGS : 0)
                | (pongHandler != null ? Abi.HEAR_PONGS : 0)
                | (manualPong ? Abi.MANUAL_PONG : 0);
    }

    private void listen() {
        Native.listen(handle, hear());
    }

    public boolean isClosed() {
        return closedRan.get() || handle == 0 || !isHeld();
    }

    /** Whether the request asked for a WebSocket: true before the handshake, too. */
    public boolean isWebSocket() {
        return upgradeRequested;
    }

    public boolean hasCloseHandler() {
        return closeHandler != null || closeRingHandler != null;
    }

    /** @param handler (fn [message]), a String or byte[] */
    public void setReceiveHandler(IFn handler) {
        requireUnset(receiveHandler, "receive");
        receiveHandler = handler;
    }

    /** @param handler (fn [bytes]); the pong has been sent */
    public void setPingHandler(IFn handler) {
        requireUnset(pingHandler, "ping");
        pingHandler = handler;
        listen();
    }

    /** @param handler (fn [bytes]) */
    public void setPongHandler(IFn handler) {
        requireUnset(pongHandler, "pong");
        pongHandler = handler;
        listen();
    }

    /** Pings are answered by the ping handler, not by the server. */
    public void answerPingsByHandler() {
        manualPong = true;
        listen();
    }

    /** @param handler (fn [keyword]); called at once if the channel is closed */
    public void setCloseHandler(IFn handler) {
        requireUnset(closeHandler, "close");
        closeHandler = handler;
        if (closedRan.get()) {
            runCloseHandler();
        } else {
            isHeld();
        }
    }

    /** @param handler (fn [code reason]); called at once if the channel is closed */
    public void setCloseRingHandler(IFn handler) {
        requireUnset(closeRingHandler, "close");
        closeRingHandler = handler;
        if (closedRan.get()) {
            runCloseRingHandler();
        } else {
            isHeld();
        }
    }

    private static void requireUnset(IFn current, String which) {
        if (current != null) {
            throw new IllegalStateException("the " + which + " handler is already set");
        }
    }

    /** Runs the receive handler; what it throws is logged. */
    public void messageReceived(Object message) {
        callback(receiveHandler, message);
    }

    public void pingReceived(byte[] payload) {
        callback(pingHandler, payload);
    }

    public void pongReceived(byte[] payload) {
        callback(pongHandler, payload);
    }

    private void callback(IFn handler, Object argument) {
        if (handler == null) {
            return;
        }
        try {
            handler.invoke(argument);
        } catch (Throwable e) {
            server.log.error("handle websocket frame " + describe(argument), e);
            server.log.event(server.log.events.serverWsFrameError);
        }
    }

    private static String describe(Object message) {
        if (message instanceof String) {
            return "TextFrame[len=" + ((String) message).length() + "]";
        }
        return message instanceof byte[] ? "Frame[len=" + ((byte[]) message).length + "]" : "";
    }

    /** See {@link #onClose(int, String)}. */
    public void onClose(int status) {
        onClose(status, "");
    }

    /** Runs the close handlers, once; what they throw reaches the caller. */
    public void onClose(int status, String reason) {
        closed(status, status, reason, true);
    }

    /** The native side's last word: the peer left, or what we closed is over. */
    void peerClosed(int status, String reason) {
        lock.lock();
        boolean ours = phase == Phase.CLOSED;
        phase = Phase.CLOSED;
        lock.unlock();
        if (!ours) {
            // Else whoever closed it reports that, with the code it gave, before its call returns.
            closed(status, status, reason, false);
        }
        server.channels.forget(this);
    }

    /** As {@link #peerClosed}, for an embedder. @return whether it has yet to hear of it */
    boolean peerGone() {
        lock.lock();
        phase = Phase.CLOSED;
        lock.unlock();
        server.channels.forget(this);
        return !closedRan.get();
    }

    /** Whether an embedder is to hear that the peer has left: once, though it may leave in two steps. */
    boolean isFirstClosing() {
        return embedderTold.compareAndSet(false, true);
    }

    /**
     * Makes this the channel of another request to the same server, without handlers. Servers do not
     * do so: a request's channel is a new one.
     *
     * @throws IllegalStateException if this channel is not closed, or the request has none
     */
    public void reset(HttpRequest request) {
        AsyncChannel other = request.channel;
        lock.lock();
        try {
            if (phase != Phase.CLOSED || other == null || other == this || other.server != server) {
                throw new IllegalStateException("this channel cannot become that of " + request);
            }
            server.channels.forget(this);
            terms = other.terms;
            upgradeRequested = other.upgradeRequested;
            ends = other.ends;
            callbackThread = other.callbackThread;
            receiveHandler = pingHandler = pongHandler = null;
            closeHandler = closeRingHandler = drainHandler = null;
            manualPong = upgraded = false;
            closedRan.set(false);
            closeReported.set(false);
            embedderTold.set(false);
            closeHandlerRan.set(false);
            closeRingHandlerRan.set(false);
            handle = other.handle;
            phase = other.takeFresh() ? Phase.FRESH : Phase.CLOSED;
            request.channel = this;
            server.channels.remember(this);
        } finally {
            lock.unlock();
        }
    }

    /**
     * @param cause what the close handler hears, as a keyword
     * @param status what the Ring handler hears
     */
    private void closed(int cause, int status, String reason, boolean throwing) {
        if (!closeReported.compareAndSet(false, true)) {
            return;
        }
        closeCause = cause;
        closeCode = status;
        closeReason = reason;
        closedRan.set(true);
        if (upgraded) {
            // A WebSocket is remembered until its last queued message has been delivered.
            server.channels.wakeSenders(handle);
        } else {
            server.channels.forget(this);
        }
        try {
            runCloseHandlers();
        } catch (Throwable e) {
            if (throwing) {
                throw e;
            }
            server.log.error("on close handler", e);
            server.log.event(server.log.events.serverChannelCloseError);
        }
    }

    private void runCloseHandlers() {
        try {
            runCloseHandler();
        } finally {
            runCloseRingHandler();
        }
    }

    /** The closing and the setting of the handler may meet: the first of them runs it. */
    private void runCloseHandler() {
        if (closeHandler != null && closeHandlerRan.compareAndSet(false, true)) {
            closeHandler.invoke(CloseCodes.keyword(closeCause));
        }
    }

    private void runCloseRingHandler() {
        if (closeRingHandler != null && closeRingHandlerRan.compareAndSet(false, true)) {
            closeRingHandler.invoke(closeCode, closeReason);
        }
    }

    /** @return the peer's address, null on a Unix domain socket */
    public InetSocketAddress remoteAddress() {
        return end(1);
    }

    @Override
    public String toString() {
        return text(end(0)) + "<->" + text(end(1));
    }

    private InetSocketAddress end(int which) {
        return ends == null ? null : Addresses.ends(ends)[which];
    }

    private static String text(InetSocketAddress end) {
        return end == null ? "unix" : end.toString();
    }
}
