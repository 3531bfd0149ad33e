package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.IntSupplier;

/**
 * Waits for room in a channel's queue: for blocking senders, and for those that want a callback.
 *
 * <p>Blocks in Java, never inside a native frame, so that virtual threads may wait here.
 */
final class Drain {
    /**
     * A blocked sender retries after this time at the latest. The core disconnects peers that do
     * not read.
     */
    private static final long RETRY_SECONDS = 60;

    private final HttpServer server;
    private final long handle;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private int drains;
    private List<Consumer<Boolean>> waiting = new ArrayList<>();

    Drain(HttpServer server, long handle) {
        this.server = server;
        this.handle = handle;
    }

    /** Makes blocked senders retry, whatever has been written. */
    void wake() {
        lock.lock();
        try {
            drains++;
            changed.signalAll();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Everything is written, or else lost. May be called on a loop.
     *
     * @return whether a task was waiting for it
     */
    boolean drained(boolean written) {
        List<Consumer<Boolean>> told;
        lock.lock();
        try {
            drains++;
            changed.signalAll();
            told = waiting;
            waiting = new ArrayList<>();
        } finally {
            lock.unlock();
        }
        for (Consumer<Boolean> task : told) {
            server.workers.callback(() -> task.accept(written));
        }
        return !told.isEmpty();
    }

    /** {@link #drained} runs {@code task} on the worker pool. */
    void add(Consumer<Boolean> task) {
        lock.lock();
        try {
            waiting.add(task);
        } finally {
            lock.unlock();
        }
    }

    boolean isAwaited() {
        lock.lock();
        try {
            return !waiting.isEmpty();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Repeats {@code send} until it is no longer refused because the queue is full.
     *
     * @return its result; also {@code SENT_CLOSED} if this thread is interrupted: then the
     *     connection is cut
     * @throws IllegalStateException on a loop, which would have to make room; nothing is sent
     */
    int insist(IntSupplier send) {
        int before = drains();
        int sent = send.getAsInt();
        while (sent == Abi.SENT_FULL) {
            if (server.loops.isOnLoop()) {
                throw new IllegalStateException(Workers.ON_LOOP);
            }
            if (!awaitChange(before)) {
                Native.abort(handle);
                return Abi.SENT_CLOSED;
            }
            before = drains();
            sent = send.getAsInt();
        }
        return sent;
    }

    private int drains() {
        lock.lock();
        try {
            return drains;
        } finally {
            lock.unlock();
        }
    }

    /** Waits until there may be room; false if interrupted. */
    private boolean awaitChange(int before) {
        lock.lock();
        try {
            long left = TimeUnit.SECONDS.toNanos(RETRY_SECONDS);
            while (drains == before && left > 0) {
                left = changed.awaitNanos(left);
            }
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        } finally {
            lock.unlock();
        }
    }
}
