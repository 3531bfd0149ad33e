package org.httpkit.server;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Warnings about responses that are allowed but probably not intended. Each is logged once, since
 * every request would repeat it.
 */
final class ResponseWarnings {
    private final ServerLog log;
    private final AtomicBoolean statusSaid = new AtomicBoolean();
    private final AtomicBoolean nilSaid = new AtomicBoolean();

    ResponseWarnings(ServerLog log) {
        this.log = log;
    }

    /** A :status that is not an integer counts as 200. */
    void ignoredStatus(String request, Object given) {
        if (first(statusSaid)) {
            String shown =
                    " :status of "
                            + given.getClass()
                            + " counts as 200: expected an Integer or Long";
            log.warning(request + ": response" + shown, null);
        }
    }

    /** The handler returned nil. */
    void noResponse(String request) {
        if (first(nilSaid)) {
            log.warning(request + ": the handler returned nil, which is sent as a 404", null);
        }
    }

    private static boolean first(AtomicBoolean said) {
        return !said.get() && said.compareAndSet(false, true);
    }
}
