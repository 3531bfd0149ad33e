package org.httpkit.server;

import org.httpkit.jni.Native;

import java.util.concurrent.TimeUnit;

/**
 * A stop: the last requests, the workers, bytes, callbacks, loops, the native server.
 *
 * <p>The server is stopping from its beginning, so no other stop repeats it: its end comes whatever
 * is thrown meanwhile, and whether or not a thread can be started.
 */
final class Stopping {
    /** How often to check whether all responses have been written. */
    private static final int UNSENT_TICK_MILLIS = 5;

    /** How long to wait for the callbacks of channels that the stop has closed. */
    private static final int CALLBACK_MILLIS = 1000;

    private final HttpServer server;
    private final Runnable callback;

    /** Msecs that silent connections are kept. */
    private int grace;

    /** WebSockets that it has closed. */
    private int websockets;

    /** Connections that it has interrupted. */
    private int cut;

    /**
     * @param callback runs once the loops have ended; may be null
     */
    Stopping(HttpServer server, Runnable callback) {
        this.server = server;
        this.callback = callback;
    }

    /** Blocks until the time is over or nothing is left, see {@link HttpServer#stop(int)}. */
    void run(int timeout) {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        int left = 0;
        try {
            left = serveLast(timeout);
        } finally {
            try {
                server.workers.stop(left);
            } finally {
                end(deadline);
            }
        }
    }

    /**
     * @return remaining msecs
     */
    private int serveLast(int timeout) {
        Native.serverDrain(server.handle);
        websockets = Native.serverGoAway(server.handle);
        return LastRequests.serve(timeout, this::unfinished);
    }

    private int unfinished(int grace) {
        this.grace = grace;
        // Repeatedly: a request may become a WebSocket meanwhile.
        websockets += Native.serverGoAway(server.handle);
        return Native.serverUnfinished(server.handle, grace, false);
    }

    private void end(long deadline) {
        try {
            if (closeAll(deadline)) {
                awaitCallbacks();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } finally {
            finishOnAnyThread();
        }
    }

    /**
     * @return whether to wait for callbacks: not if this thread is interrupted
     */
    private boolean closeAll(long deadline) {
        try {
            awaitUnsent(deadline);
            return true;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        } finally {
            cut = Native.serverClose(server.handle);
        }
    }

    /** Waits until what handlers that ended in time have sent is written, if peers read it. */
    private void awaitUnsent(long deadline) throws InterruptedException {
        while (deadline - System.nanoTime() > 0
                && (server.bodies.areGoing() || Native.serverUnsent(server.handle, grace) > 0)) {
            Thread.sleep(UNSENT_TICK_MILLIS);
        }
        server.bodies.interrupt();
    }

    /** Waits for callbacks of just closed channels: a caller may next release their resources. */
    private void awaitCallbacks() throws InterruptedException {
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(CALLBACK_MILLIS);
        if (server.loops.awaitEnd(deadline)) {
            LateClosing.hurry(server.channels.all(), server.workers);
            server.workers.awaitClosings(deadline);
        }
    }

    private void finishOnAnyThread() {
        try {
            Thread closer = new Thread(this::finish, "server-stop");
            closer.setDaemon(true);
            closer.start();
        } catch (Throwable noThread) {
            if (server.loops.isOnLoop()) {
                server.ending.set(this);
            } else {
                finish();
            }
        }
    }

    /** A loop's thread may call this once its loop has ended. */
    void finish() {
        try {
            server.loops.awaitOthers();
            server.workers.tellRefused();
            server.log.tellOmitted();
            AccessLog.end(server.accessLog);
        } finally {
            int served = Native.serverServed(server.handle);
            try {
                server.statistics.keep();
            } finally {
                Native.serverFree(server.handle);
                server.ended(served, websockets, cut, callback);
            }
        }
    }
}
