package org.httpkit.server;

import org.httpkit.logger.ContextLogger;

import java.util.concurrent.TimeUnit;

/**
 * Logs one message a few times in a second, and counts the others: one line for each of 10,000
 * refused requests in a second would add to the overload. A line about a second later tells their
 * number.
 */
final class LogLimit {
    private static final int MOST = 10;
    private static final int PERIOD_MILLIS = 1000;

    private final String message;

    /** What the line about left-out ones begins with. */
    private final String about;

    private final ContextLogger<String, Throwable> log;

    /** When the current second began. */
    private long since = System.nanoTime();

    private int lines;
    private long omitted;
    private Throwable lastOmitted;

    /** Whether the timer will tell how many were left out. */
    private boolean isTimed;

    LogLimit(String message, ContextLogger<String, Throwable> log) {
        this(message, message, log);
    }

    /** {@code message} may be null. */
    LogLimit(String message, String about, ContextLogger<String, Throwable> log) {
        this.message = message;
        this.about = about;
        this.log = log;
    }

    void log(Throwable cause) {
        if (admit(cause)) {
            Loggers.log(log, message, cause);
        }
    }

    private synchronized boolean admit(Throwable cause) {
        long now = System.nanoTime();
        if (now - since >= TimeUnit.MILLISECONDS.toNanos(PERIOD_MILLIS)) {
            since = now;
            lines = 0;
        }
        if (lines < MOST) {
            lines++;
            return true;
        }
        omitted++;
        lastOmitted = cause;
        if (!isTimed) {
            isTimed = ServerTimer.after(PERIOD_MILLIS, this::onTime);
        }
        return false;
    }

    private void onTime() {
        synchronized (this) {
            isTimed = false;
        }
        tellOmitted();
    }

    /** Logs how many were left out since the last time, if any. Never blocks. */
    void tellOmitted() {
        Workers.log(this::tell);
    }

    private void tell() {
        long number;
        Throwable cause;
        synchronized (this) {
            number = omitted;
            cause = lastOmitted;
            omitted = 0;
            lastOmitted = null;
        }
        if (number > 0) {
            Loggers.log(log, about + " (" + number + " such lines were left out)", cause);
        }
    }
}
