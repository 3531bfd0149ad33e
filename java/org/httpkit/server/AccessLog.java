package org.httpkit.server;

import org.httpkit.jni.Native;

import java.io.IOException;
import java.util.concurrent.TimeUnit;

/**
 * Passes exchanges that are over to the access log, on a thread of its own: a slow log loses
 * entries, and never delays a request.
 */
final class AccessLog implements Runnable {
    /** How long a stop waits for the last entries. */
    private static final int END_MILLIS = 1000;

    /** At most one warning in this time. */
    private static final long WARN_NANOS = TimeUnit.MINUTES.toNanos(1);

    private final HttpServer server;
    private final AccessSink sink;
    private final Thread thread;

    /** Entries lost so far, and those of them that have been reported. */
    private long lost;

    private long reported;
    private long warned = System.nanoTime() - WARN_NANOS;

    /** Why entries were lost; null if they came too fast. */
    private Throwable why;

    private AccessLog(HttpServer server, AccessSink sink) {
        this.server = server;
        this.sink = sink;
        this.thread = new Thread(this, "http-kit-server-access-log");
        thread.setDaemon(true);
    }

    /**
     * Null without a sink.
     *
     * @throws IOException if the sink cannot be used
     */
    static AccessLog of(HttpServer server, AccessSink sink) throws IOException {
        if (sink == null) {
            return null;
        }
        sink.check();
        return new AccessLog(server, sink);
    }

    static void start(AccessLog log) {
        if (log != null) {
            log.thread.start();
        }
    }

    /** Waits a while for the last entries, once the loops have ended. */
    static void end(AccessLog log) {
        if (log == null) {
            return;
        }
        Native.serverCloseAccess(log.server.handle);
        try {
            log.thread.join(END_MILLIS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void run() {
        boolean more = true;
        while (more) {
            try {
                more = next();
                warnOfLosses();
            } catch (Throwable e) {
                why = e; // no memory for their array, or the warning: the core has counted them
            }
        }
        close();
    }

    private void close() {
        try {
            sink.close();
        } catch (IOException e) {
            server.log.error("close :access-log", e);
        }
    }

    private boolean next() {
        byte[] records = Native.serverAccess(server.handle);
        if (records == null) {
            return false;
        }
        try {
            sink.write(AccessEntry.all(records), this::lost);
        } catch (Throwable e) {
            lost(AccessEntry.count(records), e);
        }
        return true;
    }

    private void lost(int entries, Throwable why) {
        Native.serverAccessLost(server.handle, entries);
        this.why = why;
    }

    private void warnOfLosses() {
        lost = Math.max(lost, Native.serverAccessLost(server.handle, 0));
        if (lost > reported && System.nanoTime() - warned >= WARN_NANOS) {
            String text = ":access-log: " + (lost - reported) + " entries were lost";
            if (why == null) {
                server.log.warning(text + ", because they came too fast", null);
            } else {
                server.log.error(text, why);
            }
            warned = System.nanoTime();
            reported = lost;
            why = null;
        }
    }
}
