package org.httpkit.server;

import java.util.concurrent.TimeUnit;
import java.util.function.IntUnaryOperator;

/**
 * The first part of {@code stop}: running requests, and those that arrive on open connections, are
 * completed.
 */
final class LastRequests {
    /** Shortest pause between checks for such requests. */
    private static final int TICK_MILLIS = 5;

    /** Longest that a silent connection is kept, as a request may be on its way to it. */
    private static final int GRACE_MILLIS = 500;

    private LastRequests() {}

    /**
     * Waits until there are none, for at most {@code timeout} msecs.
     *
     * @param unfinished given the grace period in msecs, returns how many are unfinished
     * @return remaining msecs, for other running work; 0 if the time is over or the thread is
     *     interrupted
     */
    static int serve(int timeout, IntUnaryOperator unfinished) {
        int grace = Math.min(GRACE_MILLIS, timeout / 2);
        int left = timeout;
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        while (left > 0) {
            long before = System.nanoTime();
            if (unfinished.applyAsInt(grace) == 0) {
                return left;
            }
            long now = System.nanoTime();
            left = millis(deadline - now);
            try {
                // Checking very many connections takes time: spend at most half of it on that.
                Thread.sleep(Math.min(left, Math.max(TICK_MILLIS, millis(now - before))));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return 0;
            }
        }
        return 0;
    }

    /** Rounded up, so that remaining time is never 0. */
    private static int millis(long nanos) {
        return (int) Math.max(0, TimeUnit.NANOSECONDS.toMillis(nanos + 999_999));
    }
}
