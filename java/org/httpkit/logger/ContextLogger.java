package org.httpkit.logger;

import org.httpkit.HttpUtils;

/** Where errors and warnings go: a text for people, and what went wrong. */
public interface ContextLogger<X, Y> {
    /** Writes both to standard error, see {@link HttpUtils#printError}. */
    ContextLogger<String, Throwable> ERROR_PRINTER = HttpUtils::printError;

    void log(X message, Y context);
}
