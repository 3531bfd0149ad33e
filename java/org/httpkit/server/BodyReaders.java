package org.httpkit.server;

import java.util.concurrent.ConcurrentHashMap;

/** The streams in which threads wait for request bodies, by exchange. */
final class BodyReaders {
    private final ConcurrentHashMap<Long, RequestBodyStream> waiting = new ConcurrentHashMap<>();

    void add(long exchange, RequestBodyStream stream) {
        waiting.put(exchange, stream);
    }

    void remove(long exchange, RequestBodyStream stream) {
        waiting.remove(exchange, stream);
    }

    /** Called on a loop. */
    void wake(long exchange) {
        RequestBodyStream stream = waiting.get(exchange);
        if (stream != null) {
            stream.wake();
        }
    }
}
