package org.httpkit.server;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Drains a running server when the JVM shuts down. */
final class ShutdownHook extends Thread {
    private final HttpServer server;
    private final int timeout;

    private ShutdownHook(HttpServer server, int timeout) {
        super("server-shutdown");
        this.server = server;
        this.timeout = timeout;
    }

    /** Null if the JVM is already shutting down: then no hook can be added. */
    static ShutdownHook add(HttpServer server, int timeout) {
        ShutdownHook hook = new ShutdownHook(server, timeout);
        try {
            Runtime.getRuntime().addShutdownHook(hook);
            return hook;
        } catch (IllegalStateException e) {
            return null;
        }
    }

    /** The JVM refers to a hook, and so to its server, until this. */
    void remove() {
        try {
            Runtime.getRuntime().removeShutdownHook(this);
        } catch (IllegalStateException e) {
            // The JVM is shutting down: the hook runs, or has run.
        }
    }

    @Override
    public void run() {
        CompletableFuture<Drained> drained = server.drain(timeout, 0);
        try {
            if (drained != null) {
                drained.get(timeout, TimeUnit.MILLISECONDS);
            }
        } catch (TimeoutException e) {
            server.stop(0); // a drain had begun before, with more time
        } catch (InterruptedException | ExecutionException e) {
            Thread.currentThread().interrupt();
        }
        try {
            server.join();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
