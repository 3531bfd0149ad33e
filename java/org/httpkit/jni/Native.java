package org.httpkit.jni;

import java.io.IOException;

/**
 * The native methods of the library; with {@link NativeClient}, the complete Java-to-Rust
 * interface.
 *
 * <p>Handles are opaque: a slot and a generation, never an address. A stale handle is safe; each
 * method says what it does with one. Only {@link #take}, {@link #takeAfter}, {@link
 * #respondAndTake}, {@link #serverRun}, {@link #serverAccess} and {@link NativeClient#clientRun}
 * block; platform threads call them. {@link #respondFile} takes as long as the file system needs to
 * open a file. Messages, and bodies that peers do not take at once, are compared and copied one at
 * a time from 1 MiB on. Arrays are copied before a call returns, so callers may reuse them. The
 * exception is the array of a large response body, which is kept until the peer has read it or
 * disconnected, and must not change. A bug in the native code arrives as an {@code
 * IllegalStateException}.
 *
 * <p>Call {@link NativeLibrary#load} first: if the library cannot be loaded, it says why.
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
     * Registers the number that this class loader has taken, see {@link NativeLibrary}; released
     * when the loader is collected.
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
     * @return nanoseconds on the clock of request arrival times
     */
    public static native long clock();

    /**
     * @return the header names that requests carry as numbers, one per line
     */
    public static native String knownHeaders();

    /**
     * @return the methods that requests carry as numbers, in that order, one per line
     */
    public static native String knownMethods();

    /**
     * @return the number of objects that Java holds by handle, and of arrays that are kept for
     *     peers; 0 when nothing is open
     */
    public static native long liveHandles();

    /** Returns freed memory to the system; takes milliseconds. */
    public static native void trimMemory();

    /**
     * Tells the service manager how the program is doing.
     *
     * @param socket the value of {@code NOTIFY_SOCKET}
     * @throws IOException if there is no such socket
     */
    public static native void notifyManager(byte[] socket, byte[] message) throws IOException;

    /**
     * Binds and listens; with {@code Abi.ADDRESS_NONE} only as {@link #serverListenTls} says.
     *
     * @param address IP address of 4 or 16 bytes, a path, or what errors call a socket that is lent
     * @param port or the descriptor of a socket that is lent
     * @param names options to set, see {@code rust/core/src/server/config.rs}; others keep their
     *     defaults
     * @param values their values
     * @param serverHeader value of the Server header, or null for none
     * @return a server
     * @throws java.net.BindException if the address is in use or not available
     * @throws IllegalArgumentException for an unknown option, or a value that it cannot have
     */
    public static native long serverOpen(
            ServerUpcalls upcalls,
            int addressKind,
            byte[] address,
            int port,
            String[] names,
            long[] values,
            byte[] serverHeader)
            throws IOException;

    /**
     * @return the bound port; -1 for a Unix domain socket, and with {@code Abi.ADDRESS_NONE}
     */
    public static native int serverPort(long server);

    /**
     * Listens for TLS as well; after {@link #serverTls}, before the first {@link #serverRun}.
     *
     * @return the bound port, -1 for a Unix domain socket
     * @throws java.net.BindException if the address is in use or not available
     */
    public static native int serverListenTls(long server, int addressKind, byte[] address, int port)
            throws IOException;

    /**
     * Sets or replaces everything for connections that begin after this. Nothing changes if it
     * throws. If there is no such server, everything is checked all the same.
     *
     * @param chains DER certificates of each identity, leaf first; identities in order of
     *     preference
     * @param keys the identities' keys in DER: PKCS#8, PKCS#1 or SEC1
     * @param staples their OCSP responses in DER, or null
     * @param anchors DER certificates that may sign clients' certificates
     * @param crls DER lists of certificates that they have revoked
     * @param flags {@code Abi.SERVER_TLS_*}
     * @return until when each identity's OCSP response holds, in seconds since 1970; {@code
     *     Long.MAX_VALUE} without an end or a response, 0 for one about another certificate
     * @throws IllegalArgumentException saying what is wrong with which: {@code identity 0: ...},
     *     {@code anchor 0: ...} or {@code crl 0: ...}
     */
    public static native long[] serverTls(
            long server,
            byte[][][] chains,
            byte[][] keys,
            byte[][] staples,
            byte[][] anchors,
            byte[][] crls,
            int flags);

    /**
     * @return version, cipher suite, the name that the client asked for or null, and the client's
     *     verified chain as an array of DER certificates or null; null if the exchange is over or
     *     did not come through TLS
     */
    public static native Object[] exchangeTls(long exchange);

    /** Runs a loop on this thread until {@link #serverClose}. One of them is the first. */
    public static native void serverRun(long server, boolean first);

    /** Stops accepting, after taking what the kernel has accepted. */
    public static native void serverDrain(long server);

    /**
     * Closes WebSockets with code 1001.
     *
     * @return how many
     */
    public static native int serverGoAway(long server);

    /**
     * @return responses completed since {@link #serverDrain}
     */
    public static native int serverServed(long server);

    /** Accepts no more work; {@link #take} returns null once the queue is empty. */
    public static native void serverShutQueue(long server);

    /**
     * Closes every connection and ends the loops.
     *
     * @return how many of them were in the middle of a request or response, or had bytes to write
     */
    public static native int serverClose(long server);

    /** Frees the server; call it after its loops have ended. A stale handle is ignored. */
    public static native void serverFree(long server);

    /**
     * @param grace msecs, as of {@link #serverUnfinished}
     * @return connections with bytes not yet written, or at their end not yet taken; open channels
     *     do not count
     */
    public static native int serverUnsent(long server, long grace);

    /**
     * Counts the connections that a draining server must still wait for. Call it repeatedly: it
     * closes idle connections that have been silent for {@code grace} msecs since an earlier call.
     *
     * @param openChannelsToo whether open channels of HTTP count, and listeners that have not ended
     * @return connections with an incomplete response or unwritten bytes, or on which a request may
     *     still come, and WebSockets before {@link #serverGoAway}
     */
    public static native int serverUnfinished(long server, long grace, boolean openChannelsToo);

    /**
     * @return open connections; 0 if the server has been freed
     */
    public static native int serverConnections(long server);

    /**
     * Writes statistics into an array of length {@code Abi.SERVER_STATS}, at {@code
     * Abi.SERVER_STAT_*}. Takes each connection's lock for a moment.
     *
     * @return false for a server that has been freed: then only {@code Abi.SERVER_STAT_NATIVE} is
     *     written, which is that of all
     */
    public static native boolean serverStats(long server, long[] out);

    /**
     * Blocks until exchanges are over, with the option {@code access-log}.
     *
     * @return a record for each of some, as {@code rust/core/src/server/access.rs} says; null once
     *     {@link #serverCloseAccess} was called and all are taken, or without an access log
     */
    public static native byte[] serverAccess(long server);

    /**
     * Counts records that were taken and are lost.
     *
     * @return how many are lost, those included for which there was no room; 0 for a stale handle
     */
    public static native long serverAccessLost(long server, long count);

    /** Ends {@link #serverAccess}; call it after the loops have ended. */
    public static native void serverCloseAccess(long server);

    /** Hands all queued work to {@link ServerUpcalls#onWork}, on this thread. */
    public static native void serverSpill(long server);

    /**
     * Blocks until there is work.
     *
     * @return a block, see {@code Abi.KIND_*}; null once the queue is shut and empty, or when there
     *     are more threads than are kept and this one has been idle for long
     */
    public static native byte[] take(long server);

    /**
     * Responds with the header lines at the start of {@code buffer} and the body, which is the
     * given part of {@code large} or, if that is null, follows the header lines.
     *
     * @param flags {@code Abi.GIVEN_*}, {@code CLOSE}, {@code OWNED} if no user code can reach
     *     {@code large}, and the level and window of gzip at {@code GZIP_LEVEL} and {@code
     *     GZIP_WINDOW}
     * @param declared Content-Length for a response without content; -1 for that of the body, or
     *     {@code Abi.UNKNOWN_LENGTH}
     * @return {@code SENT_ACCEPTED}, or {@code SENT_CLOSED} if stale
     */
    public static native int respond(
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
     * Responds with a file, which is read as the peer takes it. If reading fails, the connection is
     * cut and {@code NOTICE_FILE} says why.
     *
     * @param path in the encoding of the file system
     * @param offset of the first byte that is sent
     * @param length in bytes; -1 for all to the end
     * @return as {@link #respond}
     * @throws IOException if it cannot be opened, or is shorter: then nothing was sent
     */
    public static native int respondFile(
            long exchange,
            int status,
            int flags,
            byte[] buffer,
            int head,
            byte[] path,
            long offset,
            long length)
            throws IOException;

    /** {@link #respond}, then {@link #take}. */
    public static native byte[] respondAndTake(
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
     * Sends a response that is already encoded, unchanged; a body that is not allowed is dropped.
     *
     * @param bytes its start, with the whole head
     * @param more how many bytes follow through {@link #sendBody}
     * @param interest {@code Abi.INTEREST_*}, in case it opens a WebSocket
     * @return as {@link #respond}, or {@code RESPONSE_UPGRADED} for a 101 to a WebSocket request
     * @throws IllegalArgumentException if it is not a final response; the exchange stays open
     */
    public static native int respondEncoded(
            long exchange, byte[] bytes, int start, int length, long more, int interest);

    /**
     * The next part of the body that {@link #respondEncoded} has announced.
     *
     * @param owned whether no user code can reach {@code rest}
     * @return as {@link #respond}, or {@code RESPONSE_MORE}
     */
    public static native int sendBody(
            long exchange, byte[] rest, int start, int length, boolean owned);

    /**
     * Reads what has arrived of the body that follows a request, at most 64 KiB.
     *
     * @return how many bytes, at least one; or {@code Abi.BODY_*}. {@code BODY_LATER}: {@link
     *     ServerUpcalls#onBody} follows
     */
    public static native int readBody(long exchange, byte[] into, int start, int length);

    /**
     * @return names and values of the trailers of a body that has been read to its end, each ended
     *     by a line feed but the last; null if there are none
     */
    public static native byte[] trailers(long exchange);

    /**
     * Sends an informational response with these header lines.
     *
     * @param status 100 to 199, but 101
     * @return false if the exchange is over, its response has begun, or its peer speaks HTTP/1.0
     * @throws IllegalArgumentException for another status
     */
    public static native boolean inform(long exchange, int status, byte[] headers, int length);

    /**
     * @return the status and the message for the rule or the time limit that the body breaks; null
     *     if it breaks none
     */
    public static native String bodyFault(long exchange);

    /** Starts a response of unknown length. @param first its first piece, or null */
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
     * The next piece of a streamed response.
     *
     * @param flags {@code Abi.CORK} or 0
     * @param limit queued bytes at which it is refused
     * @return {@code Abi.SENT_*}
     */
    public static native int sendChunk(
            long exchange, byte[] piece, int start, int length, int flags, int limit);

    /**
     * Ends a streamed response; if none has begun, the connection.
     *
     * @return {@code Abi.SENT_*}
     */
    public static native int endStream(long exchange);

    /**
     * Sends one WebSocket frame.
     *
     * @param opcode 1 text, 2 binary, 9 ping, 10 pong
     * @return {@code Abi.SENT_*}
     * @throws IllegalArgumentException on any other opcode
     */
    public static native int sendFrame(
            long channel, int opcode, byte[] payload, int start, int length, int flags, int limit);

    /**
     * Sends one frame on each WebSocket, or one chunk on each stream.
     *
     * @param channels two numbers for each: its handle, and {@code flags << 32 | limit} as for
     *     {@link #sendChunk}, which the outcome replaces: {@code Abi.SENT_*}
     * @param opcode as for {@link #sendFrame}; {@code Abi.OPCODE_CHUNK} for a chunk
     * @throws IllegalArgumentException on any other opcode
     */
    public static native void broadcast(
            long[] channels, int opcode, byte[] payload, int start, int length);

    /** Starts the close handshake. @return true for the call that did it */
    public static native boolean closeWebSocket(long channel, int code, byte[] reason);

    /**
     * Responds with a 101 and these header lines.
     *
     * @param pingInterval msecs of silence after which the core pings; 0 for never
     * @param pingTimeout msecs of silence after a ping that end the connection
     * @return false if the exchange is over
     */
    public static native boolean upgrade(
            long exchange,
            byte[] headers,
            int length,
            int interest,
            long pingInterval,
            long pingTimeout);

    /**
     * Asks for {@link ServerUpcalls#onDrained}, which may come after the channel is closed.
     *
     * @return {@code Abi.SENT_FULL} if it follows; {@code SENT_ACCEPTED} if all sent bytes are
     *     written, {@code SENT_CLOSED} if they are not, and the exchange is over
     */
    public static native int whenDrained(long exchange);

    /**
     * Asks for {@link ServerUpcalls#onDrained} if {@code limit} bytes or more are queued.
     *
     * @return false if there is room, or the peer has disconnected: then there is no upcall
     */
    public static native boolean awaitRoom(long exchange, int limit);

    /**
     * Changes which WebSocket events are reported, {@code Abi.INTEREST_*}. A stale handle is
     * ignored.
     */
    public static native void setInterest(long channel, int interest);

    /** Keeps the exchange as a channel. @return false if the peer has disconnected */
    public static native boolean watchPeer(long exchange);

    /** Flushes at the end of a callback that used {@code Abi.CORK}. A stale handle is ignored. */
    public static native void uncork(long exchange);

    /**
     * Sends a comment on a streamed response of server-sent events whenever nothing was sent for
     * {@code millis}.
     *
     * @return false if there is no such response
     */
    public static native boolean heartbeat(long exchange, int millis);

    /** Cuts the connection. @return true if it was still open */
    public static native boolean abort(long exchange);

    /**
     * Work that was taken cannot be done: cuts its connection. If it was a channel's, the close
     * event still comes, as new work. A stale handle is ignored.
     */
    public static native void abandon(long exchange);

    /**
     * @return whether the exchange is in progress and the peer is connected
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
     * For the thread that has run the callbacks of the last ones; does what {@link #uncork} does.
     *
     * @return the channel's next events as a block; null if there are none, which ends the chain
     */
    public static native byte[] takeEvents(long channel);

    /** {@link #takeEvents}; {@link #take} if there are none. */
    public static native byte[] takeAfter(long server, long channel);

    /**
     * Responds with 503. A stale handle is ignored.
     *
     * @param stopping because the server stops; else it is counted as rejected
     */
    public static native void refuse(long exchange, boolean stopping);

    /** No thread can run the channel's callbacks: closes it with 1013. */
    public static native void overload(long channel);
}
