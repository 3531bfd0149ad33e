package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.Bodyless;
import org.httpkit.FilePart;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.util.Map;
import java.util.function.IntSupplier;
import java.util.function.LongToIntFunction;

/**
 * The sending side of a channel: its phase, and what may be sent next. Sends by several threads are
 * serialised. Nothing here runs the close handlers.
 *
 * <p>There are no lambdas here: see {@link FirstUse}.
 */
final class Sender {
    private static final int NORMAL = 1000;

    /** Outcome of a send besides {@code Abi.SENT_*}: another thread's send was first. */
    private static final int BEGUN = -1;

    /** It was accepted, and the channel is closed. */
    static final int ENDED = -2;

    /** It was refused, and the channel is closed for that reason. */
    static final int CUT = -3;

    private final AsyncChannel channel;
    private final HttpServer server;

    /** The exchange's handle; 0 for none. State of one request changes only in {@link #become}. */
    volatile long handle;

    private Terms terms;
    private boolean upgradeRequested;

    private final PhaseLock lock;
    private final Corking corking = new Corking();

    private volatile boolean held;
    private volatile boolean upgraded;
    private long pingInterval;
    private long pingTimeout;

    final Room room;

    /** The channel's {@code :compression}; null for the server's. */
    private volatile Object compression;

    Sender(AsyncChannel channel, long handle, Terms terms, boolean upgradeRequested) {
        this.channel = channel;
        this.server = channel.server;
        this.handle = handle;
        this.terms = terms;
        this.upgradeRequested = upgradeRequested;
        this.lock = new PhaseLock(server, handle == 0 ? ChannelPhase.CLOSED : ChannelPhase.FRESH);
        this.room = new Room(channel);
    }

    /** See {@link AsyncChannel#watchPeer}. */
    boolean watchPeer() {
        held = true;
        return Native.watchPeer(handle);
    }

    /**
     * Holds the channel: from now on it closes when the peer leaves.
     *
     * @return whether it is open, and the peer connected
     */
    boolean hold() {
        return held ? Native.isOpen(handle) : watchPeer();
    }

    /**
     * @return {@code Abi.SENT_*}, {@link #ENDED} or {@link #CUT}; see {@link AsyncChannel#send}
     */
    int send(Object data, boolean close) throws IOException {
        int sent = phase() == ChannelPhase.FRESH ? sendFirst(data, close) : BEGUN;
        return sent == BEGUN ? sendLater(data, close) : sent;
    }

    /** Sends a chunk or a frame, and applies the overflow policy when there is no room. */
    private int sendLater(Object data, boolean close) throws IOException {
        ChannelPhase now = phase();
        if (now != ChannelPhase.WEBSOCKET && now != ChannelPhase.STREAMING) {
            return Abi.SENT_CLOSED;
        }
        Piece piece = now == ChannelPhase.WEBSOCKET ? Piece.frame(data) : Piece.chunk(data);
        int sent = sendNow(piece, close);
        return sent == Abi.SENT_FULL ? overflowed(piece, close, room.policy()) : sent;
    }

    /** Whether a send or {@link #settle} has closed the channel. */
    static boolean isClosed(int sent) {
        return sent == ENDED || sent == CUT;
    }

    static boolean isAccepted(int sent) {
        return sent == ENDED || sent == Abi.SENT_ACCEPTED;
    }

    /**
     * @param given as for {@link #settle}
     */
    boolean blocksWhenFull(Overflow given) {
        return (given == null ? room.policy() : given) == Overflow.BLOCK;
    }

    private int overflowed(Piece piece, boolean close, Overflow policy) {
        switch (policy) {
            case BLOCK:
                // Without the lock, so that closing does not wait for a blocked sender.
                return room.insist(
                        new IntSupplier() {
                            @Override
                            public int getAsInt() {
                                return sendNow(piece, close);
                            }
                        });
            case REJECT:
                room.rejected();
                return Abi.SENT_CLOSED;
            default:
                return cut();
        }
    }

    /** What {@link Native#broadcast} must know. */
    long sendingTerms() {
        return (long) flags() << 32 | room.limit();
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
            return overflowed(piece, close, given == null ? room.policy() : given);
        }
        return sent == Abi.SENT_ACCEPTED && close && end() ? ENDED : sent;
    }

    private boolean end() {
        lock.lock();
        try {
            return phase() != ChannelPhase.CLOSED && endNow();
        } finally {
            lock.unlock();
        }
    }

    /**
     * @param piece null to send nothing, which an open channel accepts
     */
    private int sendNow(Piece piece, boolean close) {
        lock.lock();
        try {
            if (phase() == ChannelPhase.CLOSED) {
                return Abi.SENT_CLOSED;
            }
            int sent = piece == null ? nothing() : piece.sendOn(this);
            return sent == Abi.SENT_ACCEPTED && close && endNow() ? ENDED : sent;
        } finally {
            lock.unlock();
        }
    }

    private boolean endNow() {
        if (phase() != ChannelPhase.WEBSOCKET) {
            Native.endStream(handle);
        } else if (!closeWebSocket(NORMAL, "")) {
            return false;
        }
        lock.close();
        return true;
    }

    private int cut() {
        if (!lock.closeIfOpen()) {
            return Abi.SENT_CLOSED;
        }
        Native.abort(handle);
        return CUT;
    }

    int flags() {
        return corking.flag();
    }

    private int sendFirst(Object data, boolean close) throws IOException {
        ResponseWriter out = server.writers.borrow();
        lock.lockInOrder();
        try {
            if (phase() != ChannelPhase.FRESH) {
                return BEGUN;
            }
            if (!encode(out, data, close)) {
                return Abi.SENT_CLOSED;
            }
            if (out.ignoredStatus != null) {
                server.responseWarnings.ignoredStatus("send!", out.ignoredStatus);
            }
            return begin(out, close);
        } finally {
            lock.unlock();
            server.writers.giveBack(out);
        }
    }

    /**
     * @return false if the channel was closed meanwhile
     */
    private boolean encode(ResponseWriter out, Object data, boolean close) throws IOException {
        if (!PhaseLock.mayBlock(Piece.bodyOf(data))) {
            out.channel(data, terms, compression);
            return true;
        }
        long before = handle;
        Terms now = terms;
        PhaseLock.Reading reading =
                new PhaseLock.Reading() {
                    @Override
                    public void read() throws IOException {
                        out.channel(data, now, compression);
                        readFile(out, close);
                    }
                };
        return lock.readUnlocked(reading) && handle == before;
    }

    /** Reads a file that is short or a chunk; a long one that is the whole body stays a file. */
    private void readFile(ResponseWriter out, boolean close) throws IOException {
        FilePart file = Responses.file(out.stream);
        if (file != null
                && (!isWhole(out, close) || Responses.readsFile(server, out, file.length()))) {
            out.read(out.stream);
        }
    }

    private boolean isWhole(ResponseWriter out, boolean close) {
        return close || upgradeRequested || out.declared >= 0 || Bodyless.is(out.status);
    }

    private int begin(ResponseWriter out, boolean close) throws IOException {
        if (isWhole(out, close)) {
            FilePart file = Responses.file(out.stream);
            boolean sent =
                    file == null
                            ? Responses.send(handle, out)
                            : Responses.sendFile(handle, out, file, terms.head);
            if (!sent) {
                return Abi.SENT_CLOSED;
            }
            lock.close();
            return ENDED;
        }
        int sent = startStream(out);
        if (sent == Abi.SENT_ACCEPTED && terms.head) {
            // The response to HEAD ends with the head, and the length is unknown.
            Native.endStream(handle);
            lock.close();
            return ENDED;
        }
        if (sent == Abi.SENT_ACCEPTED) {
            lock.set(ChannelPhase.STREAMING);
        }
        return sent;
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

    private int nothing() {
        return Native.isOpen(handle) ? Abi.SENT_ACCEPTED : Abi.SENT_CLOSED;
    }

    /** See {@link AsyncChannel#compress}. */
    void compress(Object option) {
        compression = option;
    }

    /** See {@link AsyncChannel#compressesEvents}. */
    boolean compressesEvents() {
        return ResponseCoding.isForEvents(compression, terms);
    }

    /** See {@link AsyncChannel#compressesFile}. */
    boolean compressesFile(Map<?, ?> response, long length) {
        return server != null
                && (length <= ResponseCoding.MAX_FILE || OpenBody.isShort(server, length))
                && ResponseCoding.isForFile(response, compression, terms, length);
    }

    void setPings(long intervalMillis, long timeoutMillis) {
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
            switch (phase()) {
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
                lock.close();
            }
            return closes;
        } finally {
            lock.unlock();
        }
    }

    /** Nothing was sent: sends an empty response or, with HTTP/1.0, just ends the connection. */
    private boolean closeWithoutResponse() {
        if (terms.http10) {
            return Native.endStream(handle) != Abi.SENT_CLOSED;
        }
        return sendPlain(200, "");
    }

    private boolean sendPlain(int status, String text) {
        ResponseWriter out = server.writers.borrow();
        try {
            out.plain(status, text, !text.isEmpty());
            return Responses.send(handle, out);
        } finally {
            server.writers.giveBack(out);
        }
    }

    private boolean closeWebSocket(int code, String reason) {
        return Native.closeWebSocket(handle, code, reason.getBytes(UTF_8));
    }

    /** See {@link AsyncChannel#respond}. @return whether that closed the channel */
    boolean respond(LongToIntFunction send) {
        lock.lockInOrder();
        try {
            if (phase() != ChannelPhase.FRESH) {
                return false;
            }
            int sent = send.applyAsInt(handle);
            if (sent == Abi.RESPONSE_UPGRADED) {
                lock.set(ChannelPhase.WEBSOCKET);
                upgraded = true;
            }
            if (sent != Abi.SENT_ACCEPTED) {
                return false;
            }
            lock.close();
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** See {@link AsyncChannel#sendHandshake}. @return {@link #ENDED} if it was refused with 400 */
    int handshake(Map<String, Object> headers) {
        if (server == null) {
            return Abi.SENT_CLOSED;
        }
        ResponseWriter out = server.writers.borrow();
        lock.lockInOrder();
        try {
            out.lines(headers);
            if (phase() != ChannelPhase.FRESH) {
                return Abi.SENT_CLOSED;
            }
            int interest = channel.interest();
            if (!Native.upgrade(
                    handle, out.buffer, out.head, interest, pingInterval, pingTimeout)) {
                return refuseHandshake();
            }
            lock.set(ChannelPhase.WEBSOCKET);
            upgraded = true;
            return Abi.SENT_ACCEPTED;
        } finally {
            lock.unlock();
            server.writers.giveBack(out);
        }
    }

    /** Its body is a stream, so what follows the head are no frames; or the exchange is over. */
    private int refuseHandshake() {
        if (!sendPlain(400, "The body of a WebSocket handshake is too long")) {
            return Abi.SENT_CLOSED;
        }
        lock.close();
        return ENDED;
    }

    /** Closes the channel if nothing was sent on it. @return whether it did */
    boolean takeFresh() {
        return lock.takeFresh();
    }

    /** Whether the whole response was sent on the channel. */
    boolean isEnded() {
        return lock.isEnded();
    }

    /** The peer has disconnected. @return whether the channel was open */
    boolean peerLeft() {
        return lock.closeIfOpen();
    }

    boolean isStreaming() {
        return lock.is(ChannelPhase.STREAMING);
    }

    /** The phase, which may change at any time. */
    ChannelPhase phase() {
        return lock.phase();
    }

    boolean isFresh() {
        return phase() == ChannelPhase.FRESH;
    }

    boolean isUpgradeRequested() {
        return upgradeRequested;
    }

    /** Whether it has been a WebSocket. */
    boolean isUpgraded() {
        return upgraded;
    }

    void enterCallback() {
        corking.begin();
    }

    /** See {@link Corking#end}. */
    void leaveCallback(long taken) {
        corking.end(handle, taken);
    }

    /** A closed WebSocket is remembered until its last queued message has been delivered. */
    void forgetClosed() {
        if (upgraded) {
            server.channels.wakeSenders(handle);
        } else if (server != null) {
            server.channels.forgetClosed(channel);
        }
    }

    /**
     * Switches to another request and its channel, if this one is closed.
     *
     * @return false if it is not
     */
    boolean become(HttpRequest request) {
        AsyncChannel from = request.channel();
        Sender other = from.sender;
        lock.lock();
        try {
            if (phase() != ChannelPhase.CLOSED) {
                return false;
            }
            channel.clear(from);
            terms = other.terms;
            upgradeRequested = other.upgradeRequested;
            corking.continueAs(other.corking);
            room.reset();
            compression = null;
            upgraded = false;
            handle = other.handle;
            lock.reset(other.takeFresh() ? ChannelPhase.FRESH : ChannelPhase.CLOSED);
            channel.take(request);
            return true;
        } finally {
            lock.unlock();
        }
    }
}
