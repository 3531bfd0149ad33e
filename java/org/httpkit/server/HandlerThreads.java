package org.httpkit.server;

import java.util.LinkedHashSet;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/** Which thread runs the handler of which request, so that one that times out is interrupted. */
final class HandlerThreads {
    /**
     * Most requests that are remembered because they timed out while no thread ran their handler.
     */
    private static final int MOST_EARLY = 1000;

    private final ConcurrentHashMap<Long, Call> calls = new ConcurrentHashMap<>();

    /**
     * Requests that timed out just before their handler was called, or after it had returned, to
     * respond later. The oldest first; guarded by itself.
     */
    private final Set<Long> early = new LinkedHashSet<>();

    private volatile boolean anyEarly;

    /** A handler on its thread. */
    final class Call {
        private final long exchange;
        private final Thread thread = Thread.currentThread();
        private boolean interrupted;
        private boolean over;

        private Call(long exchange) {
            this.exchange = exchange;
        }

        private synchronized void interrupt() {
            if (!over) {
                interrupted = true;
                thread.interrupt();
            }
        }

        /** The interrupt, if there was one, was meant for the handler. */
        void end() {
            calls.remove(exchange, this);
            synchronized (this) {
                over = true;
                if (interrupted) {
                    Thread.interrupted();
                }
            }
        }
    }

    /** The handler is about to be called on this thread. */
    Call begin(long exchange) {
        Call call = new Call(exchange);
        calls.put(exchange, call);
        if (anyEarly && takeEarly(exchange)) {
            call.interrupt();
        }
        return call;
    }

    private boolean takeEarly(long exchange) {
        synchronized (early) {
            boolean was = early.remove(exchange);
            anyEarly = !early.isEmpty();
            return was;
        }
    }

    /** This request's handler has timed out. */
    void interrupt(long exchange) {
        Call call = calls.get(exchange);
        if (call == null) {
            noteEarly(exchange);
            // It may have begun meanwhile.
            call = calls.get(exchange);
        }
        if (call != null) {
            call.interrupt();
        }
    }

    private void noteEarly(long exchange) {
        synchronized (early) {
            if (early.size() == MOST_EARLY) {
                early.remove(early.iterator().next());
            }
            early.add(exchange);
            anyEarly = true;
        }
    }
}
