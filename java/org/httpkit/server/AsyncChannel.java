package org.httpkit.server;

import clojure.lang.IFn;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.channels.SelectionKey;
import java.util.Map;
import java.util.concurrent.FutureTask;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.LongToIntFunction;

/**
 * What a handler answers through: one HTTP exchange, or a WebSocket.
 *
 * <p>Thread safe. One {@code send} is one contiguous chunk or frame; sends never block. Once it is
 * closed it stays closed; the next request on the connection has a channel of its own.
 */
public class AsyncChannel {
    /** Whether the channel is closed; set just before the close handlers run, once the cause is. */
    public final AtomicBoolean closedRan = new AtomicBoolean();

    final HttpServer server;
    final Sender sender;
    private final Closing closing;

    /** Whether a thread runs callbacks for events that it has taken. */
    volatile boolean hearing;

    /**
     * What tells its close handlers, once it is closed and a callback goes on; see {@link
     * LateClosing}.
     */
    volatile FutureTask<?> lateClosing;

    private volatile IFn receiveHandler;
    private volatile IFn pingHandler;
    private volatile IFn pongHandler;
    private boolean manualPong;

    /**
     * Both ends' addresses in their native form, a sixth of the size of Java's; null without any.
     */
    private byte[] ends;

    /**
     * A channel without a connection, closed from the start: there are no selection keys any more.
     */
    public AsyncChannel(SelectionKey key, HttpServer server) {
        this(server, 0, Terms.NONE, false);
    }

    AsyncChannel(HttpServer server, long handle, Terms terms, boolean upgradeRequested) {
        this.server = server;
        this.sender = new Sender(this, handle, terms, upgradeRequested);
        this.closing = new Closing(this);
        this.ends = handle == 0 ? null : Native.addresses(handle);
    }

    long handle() {
        return sender.handle;
    }

    /**
     * The handler keeps the exchange: from now on a peer that leaves closes the channel, even if it
     * only ends its own side.
     *
     * @return false if it has left
     */
    public boolean hold() {
        return sender.hold();
    }

    /** Passes a warning to the server's logger; never throws. */
    public void logWarning(String message, Throwable error) {
        if (server != null) {
            server.logWarning(message, error);
        }
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
        int sent = sender.send(data, close);
        boolean ended = sent == Sender.ENDED;
        if (ended || sent == Sender.CUT) {
            closing.tellServerClose(true);
        }
        return ended || sent == Abi.SENT_ACCEPTED;
    }

    /** Runs {@code task} on the worker pool once all that was sent has been written, or is lost. */
    public void whenFlushed(Runnable task) {
        sender.whenFlushed(task);
    }

    /**
     * @return bytes that were accepted and wait for the peer to read
     */
    public long pendingBytes() {
        return Native.pendingBytes(handle());
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
        sender.boundPending(limit, policy, onDrain);
    }

    /** The server pings the peer by itself. To be set before the handshake. */
    public void keepAlive(long intervalMillis, long timeoutMillis) {
        sender.keepAlive(intervalMillis, timeoutMillis);
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
        if (!sender.close(status, reason)) {
            return false;
        }
        if (sender.isUpgraded()) {
            closing.tell(Closing.SERVER_CLOSE, status, reason, true);
        } else {
            closing.tellServerClose(true);
        }
        return true;
    }

    /** Cuts the TCP connection at once. @return true if it was still there */
    public boolean abort() {
        return Native.abort(handle());
    }

    /**
     * Answers with what {@code send} sends for a handle, see {@link Native#answerEncoded}; not if
     * something was sent before.
     */
    void answer(LongToIntFunction send) {
        if (sender.answer(send)) {
            closing.tellServerClose(false);
        }
    }

    /**
     * The handler has returned, with an answer of its own or not.
     *
     * @return whether its answer is to be sent: not if the channel has begun one
     */
    boolean handlerReturned(boolean answered) {
        boolean send = answered && sender.takeFresh();
        leaveCallback();
        if (send) {
            // Its answer has yet to be sent: a failing close handler must not lose it.
            closing.tellServerClose(false);
        } else if (sender.isFresh()) {
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
        boolean send = Native.isOpen(handle()) && sender.takeFresh();
        leaveCallback();
        if (send) {
            closing.tellNone();
        } else if (isStreaming()) {
            abort();
        }
        return send;
    }

    boolean isStreaming() {
        return sender.isStreaming();
    }

    void enterCallback() {
        sender.enterCallback();
    }

    void leaveCallback() {
        sender.leaveCallback();
    }

    /** Answers 101 with these headers; the channel is a WebSocket from then on. */
    public void sendHandshake(Map<String, Object> headers) {
        sender.handshake(headers);
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
        Native.listen(handle(), hear());
    }

    public boolean isClosed() {
        return closedRan.get() || handle() == 0 || !sender.isHeld();
    }

    /** Whether the request asked for a WebSocket: true before the handshake, too. */
    public boolean isWebSocket() {
        return sender.isUpgradeRequested();
    }

    public boolean hasCloseHandler() {
        return closing.hasHandler();
    }

    /**
     * @param handler (fn [message]), a String or byte[]
     */
    public void setReceiveHandler(IFn handler) {
        requireUnset(receiveHandler, "receive");
        receiveHandler = handler;
    }

    /**
     * @param handler (fn [bytes]); the pong has been sent
     */
    public void setPingHandler(IFn handler) {
        requireUnset(pingHandler, "ping");
        pingHandler = handler;
        listen();
    }

    /**
     * @param handler (fn [bytes])
     */
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

    /**
     * @param handler (fn [keyword]); called at once if the channel is closed
     */
    public void setCloseHandler(IFn handler) {
        if (closing.setHandler(handler)) {
            sender.isHeld();
        }
    }

    /**
     * @param handler (fn [code reason]); called at once if the channel is closed
     */
    public void setCloseRingHandler(IFn handler) {
        if (closing.setRingHandler(handler)) {
            sender.isHeld();
        }
    }

    static void requireUnset(IFn current, String which) {
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

    /** Calls a user's handler, if there is one; what it throws is logged. */
    void callback(IFn handler, Object argument) {
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
        closing.tell(status, status, reason, true);
    }

    /** The native side's last word: the peer left, or what we closed is over. */
    void peerClosed(int status, String reason) {
        if (sender.peerLeft()) {
            // Else what closed it reports that, with the code it gave, before its call returns.
            closing.tell(status, status, reason, false);
        }
        server.channels.forget(this);
    }

    /** As {@link #peerClosed}, for an embedder. @return whether it has yet to hear of it */
    boolean peerGone() {
        sender.peerLeft();
        server.channels.forget(this);
        return !closedRan.get();
    }

    /**
     * Whether an embedder is to hear that the peer has left: once, though it may leave in two
     * steps.
     */
    boolean isFirstClosing() {
        return closing.isFirst(Closing.EMBEDDER_TOLD);
    }

    /**
     * Makes this the channel of another request to the same server, without handlers. Servers do
     * not do so: a request's channel is a new one.
     *
     * @throws IllegalStateException if this channel is not closed, or the request has none
     */
    public void reset(HttpRequest request) {
        AsyncChannel other = request.channel;
        boolean fits = other != null && other != this && other.server == server;
        if (!fits || !sender.become(other.sender, () -> clear(other), () -> take(request))) {
            throw new IllegalStateException("this channel cannot become that of " + request);
        }
    }

    private void clear(AsyncChannel other) {
        server.channels.forget(this);
        ends = other.ends;
        receiveHandler = pingHandler = pongHandler = null;
        manualPong = false;
        closing.reset();
    }

    private void take(HttpRequest request) {
        request.channel = this;
        server.channels.remember(this);
    }

    /**
     * @return the peer's address, null on a Unix domain socket
     */
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
