package org.httpkit.server;

import java.util.Collection;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.function.BooleanSupplier;
import java.util.function.IntSupplier;

/**
 * Closes a channel whose callbacks are still running: one may run until the close handler stops it.
 *
 * <p>A close event is normally delivered after earlier events. But once a single running callback
 * has delayed it for a while, the close handlers run on another thread, and queued events are
 * delivered after them.
 */
final class LateClosing {
    /** How long a running callback may delay its channel's close event. */
    private static final int PATIENCE_MILLIS = 100;

    /** How long the pool may take to start it: all its threads may be running such callbacks. */
    private static final int POOL_MILLIS = 1000;

    private final FutureTask<?> closing;
    private final BooleanSupplier heard;
    private final IntSupplier running;
    private final Executor pool;

    /**
     * @param closing runs the close handlers, unless they have run
     * @param heard whether they have run, or are running
     * @param running another number for each callback of the channel while it runs, 0 in between
     */
    LateClosing(FutureTask<?> closing, BooleanSupplier heard, IntSupplier running, Executor pool) {
        this.closing = closing;
        this.heard = heard;
        this.running = running;
        this.pool = pool;
    }

    /** {@code channel} is closed while a thread runs its callbacks. */
    static void watch(HttpServer server, AsyncChannel channel, int code, String reason) {
        if (server.embedded != null || channel.closedRan.get()) {
            return; // one thread makes all calls; or we closed it, and know
        }
        channel.lateClosing = server.workers.closingTask(() -> channel.peerLeft(code, reason));
        new LateClosing(
                        channel.lateClosing,
                        channel.closedRan::get,
                        () -> channel.runsCallbacks ? 1 + channel.callbacks : 0,
                        server.workers::callback)
                .watch();
    }

    /** The close handlers wait for the end of {@code on-open}. */
    static void afterOpening(HttpServer server, Closing deferred) {
        Workers workers = server.workers;
        FutureTask<?> closing = workers.closingTask(deferred::endOpening);
        workers.opening.put(deferred, closing);
        if (workers.shut) {
            closing.run(); // a stop may not look again for what waits
        }
        if (!deferred.isDeferred()) {
            workers.opening.remove(deferred);
            return;
        }
        new LateClosing(closing, () -> !deferred.isDeferred(), () -> 1, workers::callback).watch();
    }

    /** The server stops: delivers close events that callbacks are delaying. */
    static void hurry(Collection<AsyncChannel> channels, Workers workers) {
        workers.opening.values().forEach(workers::closing);
        for (AsyncChannel channel : channels) {
            FutureTask<?> closing = channel.lateClosing;
            if (closing != null) {
                workers.closing(closing);
            }
        }
    }

    /** Ensures that the close handlers run. Never blocks. */
    void watch() {
        // The callback ahead of it may not have begun, for lack of a thread.
        int runs = running.getAsInt();
        if (!ServerTimer.after(PATIENCE_MILLIS, () -> look(runs))) {
            run();
        }
    }

    private void look(int ranBefore) {
        if (heard.getAsBoolean()) {
            return;
        }
        if (ranBefore != 0 && running.getAsInt() == ranBefore) {
            run();
        } else {
            watch();
        }
    }

    private void run() {
        try {
            pool.execute(closing);
        } catch (Throwable rejected) {
            Workers.aside(closing);
        }
        ServerTimer.after(POOL_MILLIS, this::hurry);
    }

    /** Runs the close handlers outside the pool. */
    private void hurry() {
        if (!closing.isDone()) {
            Workers.aside(closing);
        }
    }
}
