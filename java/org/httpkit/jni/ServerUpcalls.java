package org.httpkit.jni;

/**
 * What the native server calls, on its loop threads. Nothing here may block or run user code, and
 * nothing may be thrown.
 */
public interface ServerUpcalls {
    /** Work that no thread pulls: requests and channels' events, one block each. */
    void onWork(byte[][] blocks);

    /** This many pieces of work are queued while every thread that pulls is busy. */
    void onStarved(int waiting);

    /**
     * All that was sent is written. Comes after {@link Native#whenDrained} or {@link
     * Native#awaitRoom} has returned true, and after a send with {@code Abi.INSIST} was refused for
     * want of room.
     */
    void onDrained(long exchange);

    /**
     * The channel is closed while a thread runs its callbacks. {@code Abi.EVENT_CLOSED} will say so
     * behind them; this is for callbacks that go on until they hear of it.
     */
    void onClosing(long channel, int code, String reason);

    /** Something to be logged or counted, see {@code Abi.NOTICE_*}. */
    void onNotice(int kind, int code, String message);
}
