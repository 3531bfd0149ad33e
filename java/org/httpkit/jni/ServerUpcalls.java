package org.httpkit.jni;

/**
 * Upcalls of the native server, on its loop threads, several at the same time. They must not block,
 * run user code or throw.
 */
public interface ServerUpcalls {
    /** Work that no thread pulls: requests and channel events, one block each. */
    void onWork(byte[][] blocks);

    /**
     * This many pieces of work are queued, and the threads that take them are stuck or too slow.
     */
    void onStarved(int waiting);

    /**
     * All sent bytes are written, or else lost. Follows {@link Native#whenDrained} or {@link
     * Native#awaitRoom} if they returned so, and a send that was refused because the queue was
     * full.
     */
    void onDrained(long exchange, boolean written);

    /** Follows {@link Native#readBody}, once, when that has returned {@code Abi.BODY_LATER}. */
    void onBody(long exchange);

    /** This exchange's handler has timed out, with the option {@code interrupt-handlers?}. */
    void onOverdue(long exchange);

    /**
     * The channel is closed while a thread runs its callbacks. {@code Abi.EVENT_CLOSED} follows
     * them; this upcall is for callbacks that run until they are told.
     */
    void onClosing(long channel, int code, String reason);

    /** Something to be logged or counted, see {@code Abi.NOTICE_*}. */
    void onNotice(int kind, int code, String message);
}
