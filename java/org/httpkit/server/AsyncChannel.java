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
import java.util.function.Consumer;
import java.util.function.LongToIntFunction;

/**
 * A handler's channel for its response: one HTTP exchange, or a WebSocket.
 *
 * <p>Thread-safe. One {@code send} is one contiguous chunk or frame; sends block only under {@link
 * Overflow#BLOCK}. A closed channel stays closed; the next request on the connection has its own
 * channel.
 */
public class AsyncChannel {
    /** Whether the channel is closed; set after the cause, just before the close handlers run. */
    public final AtomicBoolean closedRan = new AtomicBoolean();

    final HttpServer server;
    final Sender sender;
    private final Closing closing;

    /** Whether a thread runs callbacks for events that it has taken. */
    volatile boolean runsCallbacks;

    /** Raised before each of them. Not an int: each idle channel has one. */
    volatile char callbacks;

    /** Runs the close handlers if the channel is closed while a callback runs. */
    volatile FutureTask<?> lateClosing;

    private volatile IFn receiveHandler;
    private volatile IFn pingHandler;
    private volatile IFn pongHandler;
    private boolean manualPong;

    /** Changed by {@link Topics} only. */
    volatile Topics.Topic[] topics;

    /**
     * Both ends' addresses in native form, a sixth of the size of Java's; null on a Unix domain
     * socket.
     */
    private byte[] ends;

    /** A channel without a connection, closed from the start: selection keys no longer exist. */
    public AsyncChannel(SelectionKey key, HttpServer server) {
        this(server, 0, Terms.NONE, false, new byte[2]);
    }

    AsyncChannel(
            HttpServer server, long handle, Terms terms, boolean upgradeRequested, byte[] ends) {
        this.server = server;
        this.sender = new Sender(this, handle, terms, upgradeRequested);
        this.closing = new Closing(this);
        this.ends = ends;
    }

    long handle() {
        return sender.handle;
    }

    /**
     * Keeps the exchange for the handler: from now on the channel is closed when the peer
     * disconnects, or only half-closes.
     *
     * @return false if the peer has disconnected
     */
    public boolean watchPeer() {
        return sender.watchPeer();
    }

    /** Where exceptions of the channel's handlers are logged. */
    ServerLog log() {
        return server == null ? ServerLog.NO_SERVER : server.log;
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
     * @param close whether to close the channel after it
     * @return whether it was accepted; false if the channel is closed
     * @throws IllegalArgumentException for data that cannot be sent; the channel stays open
     */
    public boolean send(Object data, boolean close) throws IOException {
        return accepted(sender.send(data, close));
    }

    /** Runs the close handlers if a send has closed it. @return whether it was accepted */
    boolean accepted(int sent) {
        if (Sender.isClosed(sent)) {
            closedBySend(true);
        }
        return Sender.isAccepted(sent);
    }

    /** Runs the close handlers: a send has closed the channel. */
    void closedBySend(boolean throwing) {
        closing.tellServerClose(throwing);
    }

    /**
     * Calls {@code task} on the worker pool, with true once all sent bytes have been written, even
     * if that is after the channel was closed; or with false: they are lost, or an HTTP response
     * was complete before.
     */
    public void whenFlushed(Consumer<Boolean> task) {
        sender.room.whenFlushed(task);
    }

    /**
     * @return accepted bytes that are still queued for the peer
     */
    public long pendingBytes() {
        return Native.pendingBytes(handle());
    }

    /**
     * Limits the bytes queued for the peer. A send is refused only while earlier bytes are queued,
     * so a single large message is always accepted.
     *
     * @param limit bytes; 0 keeps the server's
     * @param policy null keeps the server's
     * @param onDrain (fn [channel]) or null; called on the worker pool, perhaps beside other
     *     callbacks, once the bytes that made a send fail have been written, unless the channel is
     *     closed
     */
    public void boundPending(int limit, Overflow policy, IFn onDrain) {
        sender.room.bound(limit, policy, onDrain);
    }

    /**
     * Overrides the server's compression. Call it before the first send.
     *
     * @param option the value of an option {@code :compression}; null for the server's
     * @throws IllegalArgumentException if it is none
     */
    public void compress(Object option) {
        Compression.of(option);
        sender.compress(option);
    }

    /** Whether a stream of events on this channel would be compressed. */
    public boolean compressesEvents() {
        return sender.compressesEvents();
    }

    /**
     * Whether a Ring response with a file of this length would be compressed: then there are no
     * ranges of it.
     */
    public boolean compressesFile(Map<?, ?> response, long length) {
        return sender.compressesFile(response, length);
    }

    /** Makes the server ping the peer by itself. Set it before the handshake. */
    public void setPings(long intervalMillis, long timeoutMillis) {
        sender.setPings(intervalMillis, timeoutMillis);
    }

    /**
     * Makes the server send a comment on this stream of server-sent events whenever nothing was
     * sent for {@code millis}. Call it once the response has begun.
     */
    public void heartbeat(int millis) {
        Native.heartbeat(handle(), millis);
    }

    /** Closes without a reason, see {@link #serverClose(int, String)}. */
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

    /** Cuts the TCP connection immediately. @return true if it was still open */
    public boolean abort() {
        return Native.abort(handle());
    }

    /**
     * Responds with what {@code send} sends for a handle, see {@link Native#respondEncoded}; does
     * nothing if something was sent before.
     */
    void respond(LongToIntFunction send) {
        if (sender.respond(send)) {
            closing.tellServerClose(false);
        }
    }

    /**
     * The handler has returned, with or without a response.
     *
     * @return whether to send its response: not if one has begun on the channel
     */
    boolean handlerReturned(boolean responds) {
        boolean send = responds && sender.takeFresh();
        leaveCallback();
        if (send) {
            // Its response is still to be sent: a failing close handler must not lose it.
            closing.tellServerClose(false);
        } else if (sender.isFresh()) {
            watchPeer();
        }
        return send;
    }

    /**
     * The handler has thrown. The close handlers do not run for the 500, as in http-kit.
     *
     * @return whether to send a response that says so. One that has begun is cut, visibly to the
     *     peer; a WebSocket stays open, as after any failing callback.
     */
    boolean handlerFailed() {
        boolean send = takeToFail();
        if (send) {
            closing.tellNone();
        }
        return send;
    }

    /** As {@link #handlerFailed} for any other failure: the close handlers run. */
    boolean responseFailed() {
        boolean send = takeToFail();
        if (send) {
            failed();
        }
        return send;
    }

    /** As {@link #responseFailed}, for a caller that calls {@link #failed} after the response. */
    boolean takeToFail() {
        // If the peer has disconnected, there is nothing to send: the close event comes as usual.
        boolean send = Native.isOpen(handle()) && sender.takeFresh();
        leaveCallback();
        if (!send && isStreaming()) {
            abort();
        }
        return send;
    }

    /** Runs the close handlers of a channel that was taken to fail. */
    void failed() {
        closing.tellServerClose(false);
    }

    boolean isStreaming() {
        return sender.isStreaming();
    }

    void enterCallback() {
        sender.enterCallback();
    }

    void leaveCallback() {
        sender.leaveCallback(0);
    }

    /** Callbacks are over, and the caller takes the next events of {@code taken}. */
    void leaveCallback(long taken) {
        sender.leaveCallback(taken);
    }

    /**
     * Sends the 101 with these headers; the channel is a WebSocket from then on. A request whose
     * body is still arriving gets 400, and the channel closes.
     */
    public void sendHandshake(Map<String, Object> headers) {
        accepted(sender.handshake(headers));
    }

    /** {@code Abi.INTEREST_*}: the events that have handlers. */
    int interest() {
        if (server != null && server.embedded != null) {
            return Abi.INTEREST_PINGS | Abi.INTEREST_PONGS; // its handler is given them as frames
        }
        return (pingHandler != null ? Abi.INTEREST_PINGS : 0)
                | (pongHandler != null ? Abi.INTEREST_PONGS : 0)
                | (manualPong ? Abi.INTEREST_MANUAL_PONG : 0);
    }

    private void updateInterest() {
        Native.setInterest(handle(), interest());
    }

    public boolean isClosed() {
        return closedRan.get() || handle() == 0 || !sender.hold();
    }

    /**
     * The caller sets the close handlers, and then runs {@code on-open}. Until {@link #endOpening},
     * but no longer than {@code on-open} may delay it, a closing by the peer, or before, is not
     * told: {@code on-close} finds what {@code on-open} has noted down.
     */
    public void beginOpening() {
        if (server != null) {
            closing.beginOpening();
        }
    }

    /** Runs the close handlers if they have waited for it. */
    public void endOpening() {
        closing.endOpening();
    }

    /** Whether the request asked for a WebSocket: true even before the handshake. */
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
     * @param handler (fn [bytes]); the pong has already been sent
     */
    public void setPingHandler(IFn handler) {
        requireUnset(pingHandler, "ping");
        pingHandler = handler;
        updateInterest();
    }

    /**
     * @param handler (fn [bytes])
     */
    public void setPongHandler(IFn handler) {
        requireUnset(pongHandler, "pong");
        pongHandler = handler;
        updateInterest();
    }

    /** Leaves pongs to the ping handler; the server does not send them. */
    public void answerPingsByHandler() {
        manualPong = true;
        updateInterest();
    }

    /**
     * @param handler (fn [keyword]); called immediately if the channel is closed
     */
    public void setCloseHandler(IFn handler) {
        if (closing.setHandler(handler)) {
            sender.hold();
        }
    }

    /**
     * @param handler (fn [code reason]); called immediately if the channel is closed
     */
    public void setCloseRingHandler(IFn handler) {
        if (closing.setRingHandler(handler)) {
            sender.hold();
        }
    }

    static void requireUnset(IFn current, String which) {
        if (current != null) {
            throw new IllegalStateException("the " + which + " handler is already set");
        }
    }

    /** Runs the receive handler; its exceptions are logged. */
    public void messageReceived(Object message) {
        callback(receiveHandler, message);
    }

    public void pingReceived(byte[] payload) {
        callback(pingHandler, payload);
    }

    public void pongReceived(byte[] payload) {
        callback(pongHandler, payload);
    }

    /** Calls a user's handler, if there is one; its exceptions are logged. */
    void callback(IFn handler, Object argument) {
        if (handler == null) {
            return;
        }
        try {
            handler.invoke(argument);
        } catch (Throwable e) {
            ServerLog log = log();
            log.error(ServerLog.FRAME + describe(argument), e);
            log.event(log.events.serverWsFrameError);
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

    /** Runs the close handlers, once; their exceptions reach the caller. */
    public void onClose(int status, String reason) {
        closing.tell(status, status, reason, true);
    }

    /** The native side's last event: the peer disconnected, or a close of ours is complete. */
    void lastEvent(int status, String reason) {
        peerLeft(status, reason);
        server.channels.forgetClosed(this); // another thread's close handlers may read its topics
    }

    /** As {@link #lastEvent}, before the callbacks of messages that are queued ahead of it. */
    void peerLeft(int status, String reason) {
        if (sender.peerLeft()) {
            // Otherwise the call that closed it reports that, with its own code, before it returns.
            closing.tellOfPeer(status, reason);
        }
    }

    /** As {@link #lastEvent}, for an embedder. @return whether it must still be told */
    boolean embedderLastEvent() {
        sender.peerLeft();
        server.channels.forget(this);
        return !closedRan.get();
    }

    /** Whether to tell an embedder that the peer is gone: once, though it may half-close first. */
    boolean claimEmbedderTold() {
        return closing.claim(Closing.EMBEDDER_TOLD);
    }

    /**
     * Makes this the channel of another request to the same server, without handlers. The server
     * itself never does this: each request has a new channel.
     *
     * @throws IllegalStateException if this channel is not closed, or the request has no channel
     */
    public void reset(HttpRequest request) {
        AsyncChannel other = request.channel();
        boolean fits = other != null && other != this && other.server == server;
        if (!fits || !sender.become(request)) {
            throw new IllegalStateException("this channel cannot become that of " + request);
        }
    }

    void clear(AsyncChannel other) {
        server.channels.forget(this);
        ends = other.ends;
        receiveHandler = pingHandler = pongHandler = null;
        manualPong = false;
        topics = null;
        closing.reset();
    }

    void take(HttpRequest request) {
        request.callback.channel = this;
        server.channels.remember(this);
    }

    /**
     * @return the peer's address; null if it is unknown, or on a Unix domain socket
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

    private String text(InetSocketAddress end) {
        return end != null ? end.toString() : ends == null ? "unix" : "unknown";
    }
}
