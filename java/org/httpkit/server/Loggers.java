package org.httpkit.server;

import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;

/**
 * Calls users' loggers. Their exceptions end here: the exchange being logged must still get its
 * response or be cut, and the thread continues to serve others.
 */
final class Loggers {
    private Loggers() {}

    static void log(ContextLogger<String, Throwable> logger, String message, Throwable error) {
        try {
            logger.log(message, error);
        } catch (Throwable e) {
            complain(message, error, e);
        }
    }

    static void event(EventLogger<String> logger, String name) {
        try {
            logger.log(name);
        } catch (Throwable e) {
            complain(name, null, e);
        }
    }

    /**
     * Reports on standard error what could not be logged.
     *
     * <p>{@code failure} may be {@code error} itself: when the heap is full, the JVM throws one
     * object again and again.
     */
    static void complain(String message, Throwable error, Throwable failure) {
        try {
            String what = error == null ? message : message + ": " + error;
            System.err.println("http-kit: not logged, because of " + failure + ": " + what);
        } catch (Throwable e) {
            // There is no memory for a line, or the exceptions' own texts throw: nothing can be
            // reported.
        }
    }
}
