package org.httpkit.server;

import org.httpkit.jni.Native;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * A server's drain: requests, streams and WebSockets under way get time to end before the stop.
 *
 * <p>Runs on a thread of its own, {@code server-drain}, until all have ended, the time is over, or
 * the server is stopped.
 */
final class Draining implements Runnable {
    /** Completed, once the server has stopped, with these counts. */
    final CompletableFuture<Drained> ended = new CompletableFuture<>();

    private final HttpServer server;
    private final int timeout;
    private final long start = System.nanoTime();
    private final long websocketsGoAt;
    private int websockets;
    private volatile boolean begun;

    Draining(HttpServer server, int timeout, int websocketGrace) {
        this.server = server;
        this.timeout = timeout;
        this.websocketsGoAt = TimeUnit.MILLISECONDS.toNanos(websocketGrace);
    }

    void begin() {
        begun = true;
        try {
            Thread thread = new Thread(this, "server-drain");
            thread.setDaemon(true);
            thread.start();
        } catch (Throwable e) {
            server.stop(0, null); // no memory for its thread, for example
            throw e;
        }
    }

    boolean hasBegun() {
        return begun;
    }

    @Override
    public void run() {
        int left = 0;
        try {
            left = LastRequests.serve(timeout, this::unfinished);
        } finally {
            server.stop(left, null);
        }
    }

    /** 0 once there is nothing to wait for: also when the server is being stopped meanwhile. */
    private int unfinished(int grace) {
        try {
            return isStopping() ? 0 : stillOpen(grace);
        } catch (RuntimeException e) {
            if (isStopping()) {
                return 0; // and has been freed
            }
            throw e;
        }
    }

    private boolean isStopping() {
        return server.getStatus() != HttpServer.Status.DRAINING;
    }

    private synchronized int stillOpen(int grace) {
        // Repeatedly: a request may become a WebSocket meanwhile.
        if (System.nanoTime() - start >= websocketsGoAt) {
            websockets += Native.serverGoAway(server.handle);
        }
        return Native.serverUnfinished(server.handle, grace, true);
    }

    /** The server has stopped, and has closed {@code more} WebSockets meanwhile. */
    void end(int requests, int more, int cut) {
        ended.complete(new Drained(requests, closedWebSockets() + more, cut)); // runs users' code
    }

    private synchronized int closedWebSockets() {
        return websockets;
    }
}
