package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Date;

/** A server's statistics, as numbers at {@code Abi.SERVER_STAT_*}. */
public final class Statistics {
    private static final int[] GAUGES = {
        Abi.SERVER_STAT_OPEN, Abi.SERVER_STAT_WEBSOCKETS, Abi.SERVER_STAT_ACTIVE,
        Abi.SERVER_STAT_PENDING, Abi.SERVER_STAT_BUFFERED, Abi.SERVER_STAT_WAITING,
        Abi.SERVER_STAT_OLDEST, Abi.SERVER_STAT_THREADS, Abi.SERVER_STAT_TLS,
        Abi.SERVER_STAT_HELD
    };

    private final HttpServer server;
    private final long since = System.currentTimeMillis();
    private long[] reported = new long[Abi.SERVER_STATS];
    private volatile long[] last = new long[Abi.SERVER_STATS];

    Statistics(HttpServer server) {
        this.server = server;
    }

    /** The current numbers; the last ones of a stopped server, which has nothing open. */
    public long[] now() {
        long[] numbers = new long[Abi.SERVER_STATS];
        if (Native.serverStats(server.handle, numbers)) {
            return numbers;
        }
        long[] kept = last.clone();
        kept[Abi.SERVER_STAT_NATIVE] = numbers[Abi.SERVER_STAT_NATIVE];
        return kept;
    }

    /**
     * @return the current numbers, and those of the call before this one, at first zeros
     */
    public synchronized long[][] sinceLastCall() {
        long[] before = reported;
        reported = now();
        return new long[][] {reported.clone(), before};
    }

    /** Keeps the totals of a server that is about to be freed. */
    void keep() {
        long[] numbers = now();
        for (int gauge : GAUGES) {
            numbers[gauge] = 0;
        }
        last = numbers;
    }

    /** Virtual threads that run queued work. */
    public int virtualThreads() {
        return server.workers.virtualThreads();
    }

    /** When the server was made. */
    public Date since() {
        return new Date(since);
    }
}
