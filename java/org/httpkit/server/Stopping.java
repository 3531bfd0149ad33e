package org.httpkit.server;

import org.httpkit.jni.Native;

import java.util.concurrent.TimeUnit;

/** The end of a stop, once the workers have ended: bytes, callbacks, loops, the native server. */
final class Stopping {
    /** How often to check whether all responses have been written. */
    private static final int UNSENT_TICK_MILLIS = 5;

    /** How long to wait for the callbacks of channels that the stop has closed. */
    private static final int CALLBACK_MILLIS = 1000;

    /** What the server served since the stop began, and how many connections were cut. */
    interface Ended {
        void accept(int served, int cut);
    }

    private final HttpServer server;
    private final Thread[] loops;

    Stopping(HttpServer server, Thread[] loops) {
        this.server = server;
        this.loops = loops;
    }

    /** Cuts the connections at {@code deadline}; calls {@code ended} once the loops have ended. */
    void end(long deadline, Ended ended) {
        int cut = cut(deadline);
        Thread closer = new Thread(() -> finish(cut, ended), "server-stop");
        closer.setDaemon(true);
        closer.start();
    }

    /** Closes all connections; returns how many of them that interrupts. */
    private int cut(long deadline) {
        try {
            awaitUnsent(deadline);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return Native.serverClose(server.handle);
        }
        int cut = Native.serverClose(server.handle);
        try {
            awaitCallbacks();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        return cut;
    }

    /** Waits until what handlers that ended in time have sent is written, if peers read it. */
    private void awaitUnsent(long deadline) throws InterruptedException {
        while (deadline - System.nanoTime() > 0
                && (server.bodies.areGoing() || Native.serverUnsent(server.handle) > 0)) {
            Thread.sleep(UNSENT_TICK_MILLIS);
        }
        server.bodies.interrupt();
    }

    /** Waits for callbacks of just closed channels: a caller may next release their resources. */
    private void awaitCallbacks() throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(CALLBACK_MILLIS);
        for (Thread loop : loops) {
            if (loop == Thread.currentThread()) {
                return; // it failed, and is about to end
            }
            TimeUnit.NANOSECONDS.timedJoin(loop, deadline - System.nanoTime());
        }
        LateClosing.hurry(server.channels.all(), server.workers);
        server.workers.awaitClosings(deadline);
    }

    private void finish(int cut, Ended ended) {
        try {
            for (Thread loop : loops) {
                loop.join();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
        server.workers.tellRefused();
        AccessLog.end(server.accessLog);
        int served = Native.serverServed(server.handle);
        server.statistics.keep();
        Native.serverFree(server.handle);
        ended.accept(served, cut);
    }
}
