package org.httpkit.server;

/** Drains a running server when the JVM shuts down. */
final class ShutdownHook extends Thread {
    /** How long the end of a stop may take: last callbacks, and entries of the access log. */
    private static final int END_MILLIS = 2500;

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

    /** Returns in time, whatever the server is waiting for: the JVM does not end before. */
    @Override
    public void run() {
        try {
            server.drain(timeout, 0);
            if (!server.awaitStopped(timeout)) {
                stopAside(); // a drain had begun before, with more time
                server.awaitStopped(END_MILLIS); // not if a stop had begun, with more time
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    /** On a thread that the JVM does not wait for: what it calls of the user's may block. */
    private void stopAside() {
        Thread thread = new Thread(() -> server.stop(0), "server-shutdown-stop");
        thread.setDaemon(true);
        thread.start();
    }
}
