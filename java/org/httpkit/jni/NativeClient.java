package org.httpkit.jni;

/**
 * The native methods of the client, on the terms of {@link Native}. Java chooses the ids of calls,
 * the core those of transports; unknown and ended ones are ignored.
 *
 * <p>Has no static initialiser: the library initialises this class while it loads, and a thread in
 * an initialiser that waits for the library would be waited for. So {@link NativeLibrary#load} must
 * have returned before.
 *
 * <p>Not API.
 */
public final class NativeClient {
    private NativeClient() {}

    /**
     * Opens a client, which does nothing until {@link #clientRun}.
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

    /** Asks the loop to end; returns immediately. */
    public static native void clientStop(long client);

    /**
     * Sets the trust and key material of native TLS. Call it once, before the first call that needs
     * it.
     *
     * @throws IllegalArgumentException for unusable key material
     */
    public static native void clientTls(long client, byte[] material);

    /**
     * Starts a call.
     *
     * @param spec see {@code CallSpec}
     * @param body null for none, or if it is streamed
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

    /** Returns read window to a streamed call. */
    public static native void clientCredit(long client, long call, int n);

    /** Drops the call's connection; the call fails with {@code Abi.FAIL_CANCELLED} if not over. */
    public static native void clientCancel(long client, long call);

    /**
     * One piece of a streamed upload. The caller must stay within the credit of {@link
     * ClientUpcalls#callSendCredit}: it is not enforced. Ignored once the call has ended.
     *
     * @return false when the client is stopped
     */
    public static native boolean clientSend(
            long client, long call, byte[] data, int offset, int length, boolean last);

    /** The source of a streamed upload failed: the call fails with {@code Abi.FAIL_SOURCE}. */
    public static native void clientSendFailed(long client, long call);

    /**
     * Writes the counters into an array of length {@code Abi.CLIENT_STATS}, at {@code Abi.STAT_*}.
     *
     * @return false for an unknown client
     */
    public static native boolean clientStats(long client, long[] out);

    /** Completes {@link ClientUpcalls#transportOpen} or {@link ClientUpcalls#transportStartTls}. */
    public static native void transportReady(long client, long transport);

    /** The transport broke; may be called at any time. */
    public static native void transportFailed(long client, long transport);

    /**
     * Bytes from the peer. The caller must stay within the credit of {@link
     * ClientUpcalls#transportReadCredit}: it is not enforced. Ignored once the transport is closed.
     *
     * @return false when the client is stopped
     */
    public static native boolean transportReceived(
            long client, long transport, byte[] data, int offset, int length);

    /** The peer will send no more. */
    public static native void transportEof(long client, long transport);

    /**
     * This many bytes of {@link ClientUpcalls#transportWrite} were written; 0 means that the
     * transport moved bytes of its own, such as a handshake's.
     */
    public static native void transportWritten(long client, long transport, int n);

    /** Opens a stand-alone response decoder. */
    public static native long decoderOpen(boolean headRequest);

    /**
     * @return the decoded bytes as records, see {@code Decoder}
     */
    public static native byte[] decoderFeed(long decoder, byte[] data, int offset, int length);

    public static native void decoderClose(long decoder);

    /**
     * Undoes a content coding; call it on a worker.
     *
     * @param coding {@code Abi.CODING_*}
     * @param filter most decoded bytes before an AbortException; -1 for no limit
     * @param limit most decoded bytes that the user allows; more is a ContentTooLargeException; -1
     *     for no limit
     * @param room most decoded bytes that fit the heap; likewise
     */
    public static native byte[] decodeContent(
            int coding, byte[] data, int offset, int length, long filter, long limit, long room);
}
