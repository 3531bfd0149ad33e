package org.httpkit.server;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A channel's phase, and the lock that guards its changes.
 *
 * <p>The first send encodes its data under the lock, so that other sends follow it. A body whose
 * source may block is read without the lock: other sends wait all the same, but the channel can be
 * closed meanwhile.
 */
final class PhaseLock extends ReentrantLock {
    private static final long serialVersionUID = 1;

    /** Reads and encodes data. */
    interface Reading {
        void read() throws IOException;
    }

    private final transient HttpServer server;

    private transient volatile ChannelPhase phase;

    /** Something that was sent has closed the channel. */
    private transient volatile boolean ended;

    /** The thread that reads a body without the lock; null for none. */
    private transient Thread reader;

    /** That phase or reader has changed; made with the first reader. */
    private transient Condition changed;

    PhaseLock(HttpServer server, ChannelPhase phase) {
        this.server = server;
        this.phase = phase;
    }

    /** The phase, which may change at any time unless the caller holds the lock. */
    ChannelPhase phase() {
        return phase;
    }

    /** The caller holds the lock. */
    void set(ChannelPhase next) {
        phase = next;
        if (changed != null) {
            changed.signalAll();
        }
    }

    /**
     * As {@link #lock}, after a first send that is reading its body, if that is not the caller.
     *
     * @throws IllegalStateException on a loop, for which the body may be waiting; nothing is locked
     */
    void lockInOrder() {
        if (!lockUnlessReading()) {
            unlock();
            throw new IllegalStateException(Workers.ON_LOOP);
        }
    }

    /** Locks, too, if it returns false: on a loop, while a first send is reading its body. */
    private boolean lockUnlessReading() {
        lock();
        while (phase == ChannelPhase.FRESH && reader != null && reader != Thread.currentThread()) {
            if (server.loops.isOnLoop()) {
                return false;
            }
            changed.awaitUninterruptibly();
        }
        return true;
    }

    /** Whether reading this body may block. */
    static boolean mayBlock(Object body) {
        return !(body == null
                || body instanceof String
                || body instanceof byte[]
                || body instanceof ByteBuffer);
    }

    /**
     * Runs {@code reading} without the lock, which the caller holds once. Only a body that uses its
     * own channel nests this.
     *
     * @return false if the channel was closed meanwhile, or something was sent by the body itself
     */
    boolean readUnlocked(Reading reading) throws IOException {
        if (changed == null) {
            changed = newCondition();
        }
        Thread outer = reader;
        Thread mine = Thread.currentThread();
        reader = mine;
        unlock();
        try {
            reading.read();
        } finally {
            lock();
            if (reader == mine) {
                reader = outer;
            }
            changed.signalAll();
        }
        return phase == ChannelPhase.FRESH;
    }

    /** Closes the channel, with what was sent last; the caller holds the lock. */
    void close() {
        ended = true;
        set(ChannelPhase.CLOSED);
    }

    /**
     * Whether something that was sent has closed the channel, once a send in progress is over. It
     * is not waited for longer than a second: a header's lazy value may read the upload that the
     * caller reads.
     */
    boolean isEnded() {
        boolean locked = false;
        try {
            locked = tryLock(1, TimeUnit.SECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        try {
            return ended;
        } finally {
            if (locked) {
                unlock();
            }
        }
    }

    /** Closes the channel. @return whether it was open */
    boolean closeIfOpen() {
        lock();
        try {
            return closeNowIf(phase != ChannelPhase.CLOSED);
        } finally {
            unlock();
        }
    }

    /** Closes the channel if nothing was sent on it. @return whether it did */
    boolean takeFresh() {
        boolean untouched = lockUnlessReading();
        try {
            return closeNowIf(untouched && phase == ChannelPhase.FRESH);
        } finally {
            unlock();
        }
    }

    private boolean closeNowIf(boolean closes) {
        if (closes) {
            set(ChannelPhase.CLOSED);
        }
        return closes;
    }

    boolean is(ChannelPhase wanted) {
        boolean settled = lockUnlessReading();
        try {
            return settled && phase == wanted;
        } finally {
            unlock();
        }
    }

    /** A closed channel becomes that of another request; the caller holds the lock. */
    void reset(ChannelPhase next) {
        reader = null;
        ended = false;
        set(next);
    }
}
