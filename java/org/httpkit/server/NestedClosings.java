package org.httpkit.server;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The close handlers that a thread runs inside each other. One that sends to others closes those
 * that are full, and their handlers do the same: with enough of them, the stack would overflow. So
 * only a few nest. Deeper ones are queued, and run on the same thread when the innermost of these
 * few has returned.
 *
 * <p>There are no lambdas that a handler could be the first to link: see {@link FirstUse}.
 */
final class NestedClosings implements Runnable {
    private static final int MAX_DEPTH = 8;

    /** How long a handler may delay queued ones; then another thread runs them. */
    private static final int PATIENCE_MILLIS = 1000;

    private static final ThreadLocal<NestedClosings> OF_THREAD =
            ThreadLocal.withInitial(NestedClosings::new);

    private final Queue<Closing> queued = new ConcurrentLinkedQueue<>();
    private final AtomicBoolean watched = new AtomicBoolean();
    private int depth;

    private NestedClosings() {}

    /** Loads what {@link #run} needs. */
    static void load() {
        OF_THREAD.get();
        OF_THREAD.remove();
    }

    /** Runs the handlers, or queues them: then their exceptions are logged. */
    static void run(Closing closing, boolean throwing) {
        NestedClosings here;
        try {
            here = OF_THREAD.get();
        } catch (OutOfMemoryError e) {
            closing.runHandlers(throwing); // they may nest
            return;
        }
        here.runNested(closing, throwing);
    }

    private void runNested(Closing closing, boolean throwing) {
        if (depth == MAX_DEPTH) {
            queued.add(closing);
            watch();
            return;
        }
        depth++;
        try {
            closing.runHandlers(throwing);
        } finally {
            try {
                runQueued();
            } finally {
                depth--;
                if (depth == 0) {
                    OF_THREAD.remove(); // or the thread would keep our class loader
                }
            }
        }
    }

    private void runQueued() {
        for (Closing next = queued.poll(); next != null; next = queued.poll()) {
            next.runHandlers(false);
        }
    }

    private void watch() {
        if (watched.compareAndSet(false, true) && !ServerTimer.after(PATIENCE_MILLIS, this)) {
            watched.set(false);
        }
    }

    /** Runs on the timer's thread: one handler may wait for those that are queued behind it. */
    @Override
    public void run() {
        watched.set(false);
        if (!queued.isEmpty()) {
            watch();
            Workers.aside(this::runQueued);
        }
    }
}
