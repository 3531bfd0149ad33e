package org.httpkit.server;

import org.httpkit.jni.Native;

import java.io.IOException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Passes exchanges that are over to the access log, on a thread of its own: a slow log loses
 * entries, and never delays a request.
 */
final class AccessLog implements Runnable, AccessSink.Losses {
    /** How long a stop waits for the last entries. */
    private static final int END_MILLIS = 1000;

    /** And for entries that the sink gives up. */
    private static final int CUT_MILLIS = 500;

    /** And for a logger that it tells of lost ones. */
    private static final int REPORT_MILLIS = 500;

    /** At most one warning in this time. */
    private static final long WARN_NANOS = TimeUnit.MINUTES.toNanos(1);

    /** How often losses are looked for while the log's thread may be blocked. */
    private static final int LOOK_MILLIS = 1000;

    private final HttpServer server;
    private final AccessSink sink;
    private final Thread thread;

    /** Entries lost so far, and those of them that have been reported. Guarded by this. */
    private long lost;

    private long reported;
    private long warned = System.nanoTime() - WARN_NANOS;

    /** When a failure that has lost no entry was told of. Only for the log's thread. */
    private long told = warned;

    /** Why entries were lost; null if there was no time for them. */
    private volatile Throwable why;

    /** The log's thread has entries that the sink has not yet taken. */
    private volatile boolean isBusy;

    private volatile boolean isEnded;

    /** Whether the timer will look for losses. */
    private final AtomicBoolean isTimed = new AtomicBoolean();

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

    /** The server will not start. */
    static void discard(AccessLog log) {
        if (log != null) {
            log.close();
        }
    }

    static void start(AccessLog log) {
        if (log != null) {
            log.thread.start();
        }
    }

    /** Waits a while for the last entries, once the loops have ended; what is left then is lost. */
    static void end(AccessLog log) {
        if (log == null) {
            return;
        }
        if (log.thread.getState() == Thread.State.NEW) { // there was no memory for it
            log.close();
        }
        Native.serverCloseAccess(log.server.handle);
        log.join(END_MILLIS);
        log.isEnded = true;
        try {
            if (log.thread.isAlive()) {
                log.drop();
                if (log.sink.cut()) {
                    log.join(CUT_MILLIS); // it counts what it has in its hands
                }
            }
            log.report(true);
            if (log.hasReported()) {
                awaitLoggers();
            }
        } catch (Throwable e) {
            Loggers.complain(":access-log", null, e); // no memory: the stop goes on
        }
    }

    /** The process may end with the stop: waits for the logger, but not for one that blocks. */
    private static void awaitLoggers() {
        FutureTask<?> last = new FutureTask<>(() -> {}, null);
        Workers.log(last); // behind what is to be logged
        try {
            last.get(REPORT_MILLIS, TimeUnit.MILLISECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (ExecutionException | TimeoutException e) {
            // A logger is still busy.
        }
    }

    private void join(int millis) {
        try {
            thread.join(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void drop() {
        byte[] records = Native.serverAccess(server.handle);
        if (records != null) {
            lost(AccessEntry.count(records), null);
        }
    }

    @Override
    public void run() {
        boolean more = true;
        while (more) {
            try {
                more = next();
                report(!more);
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
            Workers.log(() -> server.log.error("close :access-log", e));
        }
    }

    private boolean next() {
        byte[] records = Native.serverAccess(server.handle);
        if (records == null) {
            return false;
        }
        isBusy = true;
        try {
            lookLater();
            sink.write(AccessEntry.all(records), this);
        } catch (Throwable e) {
            lost(AccessEntry.count(records), e);
        }
        isBusy = false;
        return true;
    }

    @Override
    public synchronized void lost(int entries, Throwable why) {
        long all = Native.serverAccessLost(server.handle, entries);
        // 0: the stop did not wait for these, and nothing else counts them any more.
        lost = all == 0 ? lost + entries : all;
        if (why != null) {
            this.why = why;
        }
    }

    @Override
    public void none(String what, Throwable why) {
        if (System.nanoTime() - told >= WARN_NANOS) {
            told = System.nanoTime();
            Workers.log(() -> server.log.error(":access-log: " + what, why));
        }
    }

    private void lookLater() {
        if (isTimed.compareAndSet(false, true) && !ServerTimer.after(LOOK_MILLIS, this::look)) {
            isTimed.set(false);
        }
    }

    private void look() {
        isTimed.set(false);
        boolean isDue = report(false);
        if ((isBusy || isDue) && !isEnded) {
            lookLater();
        }
    }

    /**
     * Logs how many were lost since the last time, if any; not twice a minute, unless it is the
     * {@code last} time. The logger, which may block, is called on another thread.
     *
     * @return whether some are still to be reported
     */
    private boolean report(boolean last) {
        long count;
        Throwable cause;
        synchronized (this) {
            lost = Math.max(lost, Native.serverAccessLost(server.handle, 0));
            count = lost - reported;
            if (count == 0) {
                return false;
            }
            if (!last && System.nanoTime() - warned < WARN_NANOS) {
                return true;
            }
            warned = System.nanoTime();
            reported = lost;
            cause = why;
            why = null;
        }
        Workers.log(() -> tell(count, cause));
        return false;
    }

    private synchronized boolean hasReported() {
        return reported > 0;
    }

    private void tell(long count, Throwable cause) {
        String text = ":access-log: " + count + " entries were lost";
        if (cause == null) {
            server.log.warning(text + ", because they could not be written in time", null);
        } else {
            server.log.error(text, cause);
        }
    }
}
