package org.httpkit.server;

import org.httpkit.jni.Native;

import java.util.concurrent.TimeUnit;

/**
 * The first part of a stop: requests that run, or come on open connections, are served to their
 * end.
 */
final class LastRequests {
    /** How often it is looked whether there are any, at most. */
    private static final int TICK_MILLIS = 5;

    /** How long a silent connection is kept, at most, as a request may be on its way to it. */
    private static final int GRACE_MILLIS = 500;

    private LastRequests() {}

    /**
     * Waits until there are none, at most {@code timeout} msecs.
     *
     * @return msecs that are left for what else runs; 0 if the time is over or the thread is
     *     interrupted
     */
    static int serve(long server, int timeout) {
        int grace = Math.min(GRACE_MILLIS, timeout / 2);
        int left = timeout;
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        while (left > 0) {
            long before = System.nanoTime();
            if (Native.serverUnfinished(server, grace) == 0) {
                return left;
            }
            long now = System.nanoTime();
            left = millis(deadline - now);
            try {
                // Looking at very many connections takes its time: not more than half of all.
                Thread.sleep(Math.min(left, Math.max(TICK_MILLIS, millis(now - before))));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return 0;
            }
        }
        return 0;
    }

    /** Rounded up: a time that is not over is not 0. */
    private static int millis(long nanos) {
        return (int) Math.max(0, TimeUnit.NANOSECONDS.toMillis(nanos + 999_999));
    }
}
