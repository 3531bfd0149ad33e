package org.httpkit.server;

import java.util.Collection;
import java.util.concurrent.Executor;
import java.util.concurrent.FutureTask;
import java.util.function.BooleanSupplier;

/**
 * The closing of a channel whose callbacks go on: one may run until the close handler stops it.
 *
 * <p>A closing is heard behind what came before it. But once a callback of its channel has held it
 * up for a while, the close handlers run on another thread, and what else waits is delivered after
 * them.
 */
final class LateClosing {
    /** How long a callback that runs holds its channel's closing up. */
    private static final int PATIENCE_MILLIS = 100;

    /** How long the pool may take to begin with it: perhaps all its threads run such callbacks. */
    private static final int POOL_MILLIS = 1000;

    private final FutureTask<?> closing;
    private final BooleanSupplier heard;
    private final BooleanSupplier callbackRuns;
    private final Executor pool;

    /**
     * @param closing runs the close handlers, unless they have run
     * @param heard whether they have run, or run now
     * @param callbackRuns whether a callback of the channel runs
     */
    LateClosing(
            FutureTask<?> closing,
            BooleanSupplier heard,
            BooleanSupplier callbackRuns,
            Executor pool) {
        this.closing = closing;
        this.heard = heard;
        this.callbackRuns = callbackRuns;
        this.pool = pool;
    }

    /** {@code channel} is closed while a thread runs its callbacks. */
    static void watch(HttpServer server, AsyncChannel channel, int code, String reason) {
        if (server.embedded != null || channel.closedRan.get()) {
            return; // one thread makes all calls; or our own side has closed it, and knows
        }
        channel.lateClosing = new FutureTask<>(() -> channel.peerClosed(code, reason), null);
        new LateClosing(
                        channel.lateClosing,
                        channel.closedRan::get,
                        () -> channel.hearing,
                        server.workers::callback)
                .watch();
    }

    /** The server stops: closings that callbacks hold up are heard now. */
    static void hurry(Collection<AsyncChannel> channels, Workers workers) {
        for (AsyncChannel channel : channels) {
            FutureTask<?> closing = channel.lateClosing;
            if (closing != null) {
                workers.closing(closing);
            }
        }
    }

    /** Sees to it that the closing is heard. Never blocks. */
    void watch() {
        // What it waits behind may have yet to begin, for want of a thread.
        boolean runs = callbackRuns.getAsBoolean();
        if (!ServerTimer.after(PATIENCE_MILLIS, () -> look(runs))) {
            run();
        }
    }

    private void look(boolean ranBefore) {
        if (heard.getAsBoolean()) {
            return;
        }
        if (ranBefore && callbackRuns.getAsBoolean()) {
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

    /** Has it heard outside of the pool. */
    private void hurry() {
        if (!closing.isDone()) {
            Workers.aside(closing);
        }
    }
}
