package org.httpkit.logger;

import org.httpkit.HttpUtils;

/** Receives errors and warnings: a text for people, and the cause. */
public interface ContextLogger<X, Y> {
    /** Writes both to standard error, see {@link HttpUtils#printError}. */
    ContextLogger<String, Throwable> ERROR_PRINTER = HttpUtils::printError;

    void log(X message, Y context);
}
