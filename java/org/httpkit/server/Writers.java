package org.httpkit.server;

import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/** Unused response writers of a server, each with its array, for the next response. */
final class Writers {
    private static final int SPARE = 64;

    private final Queue<ResponseWriter> spare = new ConcurrentLinkedQueue<>();
    private final AtomicInteger count = new AtomicInteger();

    ResponseWriter borrow() {
        ResponseWriter writer = spare.poll();
        if (writer == null) {
            return new ResponseWriter();
        }
        count.decrementAndGet();
        return writer;
    }

    void giveBack(ResponseWriter writer) {
        writer.large = null;
        if (count.incrementAndGet() <= SPARE) {
            spare.add(writer);
        } else {
            count.decrementAndGet();
        }
    }
}
