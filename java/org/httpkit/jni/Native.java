package org.httpkit.jni;

/**
 * Every native method of the library: the whole Java-to-Rust door.
 *
 * <p>Handles are opaque: a slot and a generation, never an address. A stale one is safe; each
 * method says what it does with it. Nothing blocks but {@link #take}, {@link #answerAndTake} and
 * {@link #serverRun}, which platform threads call. Arrays are copied before a call returns, so
 * callers may reuse them; but the array of a response's large body is kept until the peer has read
 * it, or has left, and must not change. A bug in the native code arrives as an {@code
 * IllegalStateException}.
 *
 * <p>Callers go through {@link NativeLibrary#load} first, which says what is wrong when there is no
 * library.
 *
 * <p>Not API. The classes that hold handles are the only callers.
 */
public final class Native {
    static {
        NativeLibrary.loadFromNative();
    }

    private Native() {}

    /** Runs the static initialiser, if it has not run. */
    static void initialise() {}

    /**
     * The number that this class loader has taken, see {@link NativeLibrary}; given back when it is
     * collected.
     */
    public static native void loaderNumber(int number);

    /**
     * @return the native library's version
     */
    public static native String version();

    /**
     * @return {@code release} or {@code debug}
     */
    public static native String buildProfile();

    /**
     * @return nanoseconds on the clock by which requests say when they arrived
     */
    public static native long clock();

    /**
     * @return the header names that requests carry as numbers, one a line
     */
    public static native String knownHeaders();

    /**
     * @return the methods that requests carry as a number, in that order, one a line
     */
    public static native String knownMethods();

    /**
     * @return objects that Java holds by handle; 0 when nothing is open
     */
    public static native long liveHandles();

    /** Gives memory that was freed back to the system; takes milliseconds. */
    public static native void trimMemory();

    /**
     * Binds and listens.
     *
     * @param address IP address of 4 or 16 bytes, or a path
     * @param names of options, see {@code rust/core/src/server/config.rs}; the others have their
     *     defaults
     * @param values of these options
     * @param serverHeader value of the Server header, or null for none
     * @return a server
     * @throws java.net.BindException if the address cannot be had
     * @throws IllegalArgumentException for a name that is no option's, or a value that it cannot
     *     have
     */
    public static native long serverOpen(
            ServerUpcalls upcalls,
            int addressKind,
            byte[] address,
            int port,
            String[] names,
            long[] values,
            byte[] serverHeader);

    /**
     * @return the bound port, -1 for a Unix domain socket
     */
    public static native int serverPort(long server);

    /** Runs a loop on this thread until {@link #serverClose}. One of them is the first. */
    public static native void serverRun(long server, boolean first);

    /** Stops accepting, once what the kernel has accepted is taken; closes WebSockets. */
    public static native void serverDrain(long server);

    /** No more work is taken in; {@link #take} returns null once the rest is taken. */
    public static native void serverShutQueue(long server);

    /** Closes every connection and ends the loops. */
    public static native void serverClose(long server);

    /** Gives the server up, after its loops have ended. A stale handle is ignored. */
    public static native void serverFree(long server);

    /**
     * @return connections whose answers have yet to be written; channels do not count
     */
    public static native int serverUnsent(long server);

    /**
     * How much a server that drains has yet to do. Closes idle connections that have been silent
     * for {@code grace} msecs while this was called again and again.
     *
     * @return connections whose requests have not been answered in full, or on which one may still
     *     come
     */
    public static native int serverUnfinished(long server, long grace);

    /**
     * @return open connections; 0 of a server that is gone
     */
    public static native int serverConnections(long server);

    /** Hands all waiting work to {@link ServerUpcalls#onWork}, on this thread. */
    public static native void serverSpill(long server);

    /**
     * Waits for work.
     *
     * @return a block, see {@code Abi.KIND_*}; null once the queue is shut and empty, and when
     *     there are more threads than are kept and this one has waited for long
     */
    public static native byte[] take(long server);

    /**
     * Answers, with the header lines at the start of {@code buffer}, the body behind them and, if
     * not null, the part of {@code large} behind that.
     *
     * @param flags {@code Abi.GIVEN_*}, {@code CLOSE}, and {@code OWNED} if no user code knows
     *     {@code large}
     * @param declared Content-Length for an answer without content, or -1
     * @return {@code SENT_ACCEPTED}, or {@code SENT_CLOSED} if stale
     */
    public static native int answer(
            long exchange,
            int status,
            int flags,
            long declared,
            byte[] buffer,
            int head,
            int body,
            byte[] large,
            int largeStart,
            int largeLength);

    /**
     * Answers with a file, which is read as the peer takes it. Should that fail, the connection is
     * cut and {@code NOTICE_FILE} says why.
     *
     * @param path in the encoding of the file system
     * @return as {@link #answer}
     * @throws java.io.IOException if it cannot be opened: then nothing was sent
     */
    public static native int answerFile(
            long exchange, int status, int flags, byte[] buffer, int head, byte[] path);

    /** {@link #answer}, then {@link #take}. */
    public static native byte[] answerAndTake(
            long server,
            long exchange,
            int status,
            int flags,
            long declared,
            byte[] buffer,
            int head,
            int body,
            byte[] large,
            int largeStart,
            int largeLength);

    /**
     * Sends an answer that is encoded already, as it is; a body where none is allowed is left out.
     *
     * @param bytes its start, with the whole head
     * @param more how many bytes follow through {@link #body}
     * @param hear {@code Abi.HEAR_*}, if it opens a WebSocket
     * @return as {@link #answer}, or {@code ANSWER_UPGRADED} for a 101 to a request for a WebSocket
     * @throws IllegalArgumentException if they are no final answer; the exchange goes on
     */
    public static native int answerEncoded(
            long exchange, byte[] bytes, int start, int length, long more, int hear);

    /**
     * The next part of the body that {@link #answerEncoded} has announced.
     *
     * @param owned whether no user code knows {@code rest}
     * @return as {@link #answer}, or {@code ANSWER_MORE}
     */
    public static native int body(long exchange, byte[] rest, int start, int length, boolean owned);

    /** Starts an answer of unknown length. @param first its first piece, or null */
    public static native int stream(
            long exchange,
            int status,
            int flags,
            byte[] buffer,
            int head,
            byte[] first,
            int start,
            int length);

    /**
     * The next piece of a streamed answer.
     *
     * @param flags {@code Abi.CORK}, {@code INSIST}
     * @param limit refuse it while this many bytes are queued
     * @return {@code Abi.SENT_*}
     */
    public static native int chunk(
            long exchange, byte[] piece, int start, int length, int flags, int limit);

    /** Ends a streamed answer. @return {@code Abi.SENT_*} */
    public static native int end(long exchange);

    /**
     * Sends one WebSocket frame.
     *
     * @param opcode 1 text, 2 binary, 9 ping, 10 pong
     * @return {@code Abi.SENT_*}
     * @throws IllegalArgumentException on any other opcode
     */
    public static native int message(
            long channel, int opcode, byte[] payload, int start, int length, int flags, int limit);

    /** Starts the close handshake. @return true for the call that did it */
    public static native boolean closeWebSocket(long channel, int code, byte[] reason);

    /**
     * Answers 101 with these header lines.
     *
     * @param pingInterval msecs of silence after which the core pings; 0 for never
     * @param pingTimeout msecs of silence after a ping that end the connection
     * @return false if the exchange is over
     */
    public static native boolean upgrade(
            long exchange,
            byte[] headers,
            int length,
            int hear,
            long pingInterval,
            long pingTimeout);

    /**
     * Asks for {@link ServerUpcalls#onDrained}.
     *
     * @return false if nothing waits to be written: then it does not come
     */
    public static native boolean whenDrained(long exchange);

    /**
     * Asks for {@link ServerUpcalls#onDrained} if {@code limit} bytes or more wait to be written,
     * as with {@code Abi.INSIST}.
     *
     * @return false if there is room, or the peer is gone: then it does not come
     */
    public static native boolean awaitRoom(long exchange, int limit);

    /** Changes what is reported of a WebSocket, {@code Abi.HEAR_*}. A stale handle is ignored. */
    public static native void listen(long channel, int hear);

    /** The exchange is kept as a channel. @return false if the peer has left */
    public static native boolean hold(long exchange);

    /** A callback that used {@code Abi.CORK} is over. A stale handle is ignored. */
    public static native void settle(long exchange);

    /** Cuts the connection. @return true if it was still there */
    public static native boolean abort(long exchange);

    /**
     * Work that was taken could not be done: cuts its connection. If it was a channel's, the
     * closing is heard all the same, as new work. A stale handle is ignored.
     */
    public static native void abandon(long exchange);

    /**
     * @return whether the exchange goes on and the peer is there
     */
    public static native boolean isOpen(long exchange);

    /**
     * @return bytes accepted and not yet written; 0 if stale
     */
    public static native long pendingBytes(long exchange);

    /**
     * @return local and peer address, an {@link AddressRecord} each; null if stale or on a Unix
     *     domain socket
     */
    public static native byte[] addresses(long exchange);

    /**
     * @return the channel's next events as a block, null if there are none; then the chain is over
     */
    public static native byte[] takeEvents(long channel);

    /** Answers 503. A stale handle is ignored. */
    public static native void refuse(long exchange);

    /** No thread can run the channel's callbacks: it is closed with 1013. */
    public static native void overload(long channel);

    // The client. Calls have ids that Java chooses, transports ids that the core chooses; unknown
    // and ended ones are ignored.

    /**
     * Opens a client; {@link #clientRun} makes it work.
     *
     * @param maxConnections to all hosts, 0 or less for no limit; {@code maxPerHost} likewise
     * @param bind an address record as in the call spec, or null
     */
    public static native long clientOpen(long maxConnections, long maxPerHost, byte[] bind);

    /**
     * Runs the loop on this thread until {@link #clientStop}. When it returns, every accepted call
     * has had its last upcall, every socket is closed and the handle is released.
     */
    public static native void clientRun(long client);

    /** Asks the loop to end; returns at once. */
    public static native void clientStop(long client);

    /**
     * Sets what native TLS trusts and presents; to be called once, before the first call that needs
     * it.
     *
     * @throws IllegalArgumentException for unusable key material
     */
    public static native void clientTls(long client, byte[] material);

    /**
     * Starts a call.
     *
     * @param spec see {@code CallSpec}
     * @param body null for none, and for streamed ones
     * @return true: exactly one last upcall will come; false: the client is stopped, none will
     * @throws IllegalArgumentException for a malformed spec
     */
    public static native boolean clientCall(
            long client,
            long call,
            byte[] spec,
            int specLength,
            byte[] body,
            int bodyOffset,
            int bodyLength);

    /** Gives read window back to a streamed call. */
    public static native void clientCredit(long client, long call, int n);

    /**
     * Drops the call's connection; it fails with {@code Abi.FAIL_CANCELLED} unless it ended before.
     */
    public static native void clientCancel(long client, long call);

    /**
     * One piece of a streamed upload. The caller keeps within the credit of {@link
     * ClientUpcalls#callSendCredit}: nothing refuses what exceeds it. Ignored once the call has
     * ended.
     *
     * @return false when the client is stopped
     */
    public static native boolean clientSend(
            long client, long call, byte[] data, int offset, int length, boolean last);

    /** The source of a streamed upload failed: the call fails with {@code Abi.FAIL_SOURCE}. */
    public static native void clientSendFailed(long client, long call);

    /**
     * Counts into an array of {@code Abi.CLIENT_STATS}, at {@code Abi.STAT_*}.
     *
     * @return false for an unknown client
     */
    public static native boolean clientStats(long client, long[] out);

    /** Answers {@link ClientUpcalls#transportOpen} and {@link ClientUpcalls#transportStartTls}. */
    public static native void transportReady(long client, long transport);

    /** The transport broke; at any time. */
    public static native void transportFailed(long client, long transport);

    /**
     * Bytes from the peer. The caller keeps within the credit of {@link
     * ClientUpcalls#transportReadCredit}: nothing refuses what exceeds it. Ignored once the
     * transport is closed.
     *
     * @return false when the client is stopped
     */
    public static native boolean transportReceived(
            long client, long transport, byte[] data, int offset, int length);

    /** The peer will send no more. */
    public static native void transportEof(long client, long transport);

    /**
     * This many bytes of {@link ClientUpcalls#transportWrite} have left; 0 says that bytes of the
     * transport's own moved, such as a handshake's.
     */
    public static native void transportWritten(long client, long transport, int n);

    /** A response decoder on its own. */
    public static native long decoderOpen(boolean headRequest);

    /**
     * @return what the bytes mean, as records, see {@code Decoder}
     */
    public static native byte[] decoderFeed(long decoder, byte[] data, int offset, int length);

    public static native void decoderClose(long decoder);

    /**
     * Undoes a content coding; to be called on a worker.
     *
     * @param coding {@code Abi.CODING_*}
     * @param filter most decoded bytes before an AbortException; -1 for any
     * @param limit most decoded bytes that the user allows; more are a ContentTooLargeException, -1
     *     for any
     * @param room what the heap has room for; likewise
     */
    public static native byte[] decodeContent(
            int coding, byte[] data, int offset, int length, long filter, long limit, long room);
}
