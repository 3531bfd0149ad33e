package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Arrays;

/**
 * Small parts of a streamed body, which leave together: each chunk costs a system call, its framing
 * and, if compressed, a flush of the compressor.
 *
 * <p>A part that comes after a pause leaves immediately; those that follow quickly are gathered
 * until there are enough, or until the timer's next tick, so that none waits for the next one. Not
 * thread-safe: {@link OpenBody} guards it.
 */
final class SmallParts {
    /** Parts of this length are worth a chunk of their own. */
    private static final int LARGE = 4 * 1024;

    private static final int SIZE = 16 * 1024;

    /** A part that comes this long after the last chunk is not gathered. */
    private static final long PAUSE_NANOS = 2_000_000;

    /** Ticks between attempts while the peer's queue is full. */
    private static final int FULL_TICKS = 16;

    private final OpenBody body;
    private byte[] bytes;
    private int length;
    private long sentAt = System.nanoTime();
    private int fullTicks;

    /** The peer has disconnected, which perhaps only the timer has seen. */
    private boolean closed;

    SmallParts(OpenBody body) {
        this.body = body;
    }

    /**
     * Sends a part, or gathers it.
     *
     * @return {@code Abi.SENT_*}
     */
    int send(byte[] part, int start, int count) {
        if (closed) {
            return Abi.SENT_CLOSED;
        }
        boolean gathers = count < LARGE && (length > 0 || System.nanoTime() - sentAt < PAUSE_NANOS);
        if (!gathers || length + count > SIZE) {
            int sent = flush();
            if (sent != Abi.SENT_ACCEPTED) {
                return sent;
            }
        }
        if (!gathers) {
            return pass(part, start, count);
        }
        gather(part, start, count);
        return Abi.SENT_ACCEPTED;
    }

    private void gather(byte[] part, int start, int count) {
        int needed = length + count;
        if (bytes == null) {
            bytes = new byte[Math.max(needed, 1024)];
        } else if (bytes.length < needed) {
            bytes = Arrays.copyOf(bytes, Math.min(SIZE, Math.max(2 * bytes.length, needed)));
        }
        System.arraycopy(part, start, bytes, length, count);
        // Again if a tick has failed, which ends them.
        if (count > 0 && (length == 0 || !SilentBodies.has(body))) {
            SilentBodies.add(body);
        }
        length = needed;
    }

    /**
     * Sends what is gathered.
     *
     * @return {@code Abi.SENT_*}; if full, it is still to be sent
     */
    int flush() {
        if (length == 0) {
            return Abi.SENT_ACCEPTED;
        }
        int sent = pass(bytes, 0, length);
        if (sent != Abi.SENT_FULL) {
            clear();
        }
        return sent;
    }

    private int pass(byte[] part, int start, int count) {
        int sent = Native.sendChunk(body.handle, part, start, count, 0, OpenBody.WINDOW);
        sentAt = System.nanoTime();
        closed = sent == Abi.SENT_CLOSED;
        return sent;
    }

    private void clear() {
        length = 0;
        fullTicks = 0;
        SilentBodies.remove(body);
    }

    /** Called by the timer. */
    void tick() {
        if (fullTicks % FULL_TICKS != 0) {
            fullTicks++;
        } else {
            flushAndShrink();
        }
    }

    /** As {@link #flush}, and frees the buffer: the next part may be long in coming. */
    void flushAndShrink() {
        if (flush() == Abi.SENT_FULL) {
            fullTicks++;
        } else {
            bytes = null;
        }
    }
}
