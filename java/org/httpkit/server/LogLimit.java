package org.httpkit.server;

import java.util.concurrent.TimeUnit;

/**
 * Lets a few lines through in a second, and counts the others: one line for each of 10,000 refused
 * requests in a second would add to the overload.
 */
final class LogLimit {
    private static final int MOST = 10;
    private static final long SECOND = TimeUnit.SECONDS.toNanos(1);

    /** When the current second began. */
    private long since = System.nanoTime();

    private int lines;
    private long omitted;

    /**
     * @return the line to be logged for this message, which says how many were left out before it;
     *     null if this one is left out
     */
    synchronized String line(String message) {
        long now = System.nanoTime();
        if (now - since >= SECOND) {
            since = now;
            lines = 0;
        }
        if (lines == MOST) {
            omitted++;
            return null;
        }
        lines++;
        String before = omitted == 0 ? "" : " (" + omitted + " such lines were left out)";
        omitted = 0;
        return message + before;
    }
}
