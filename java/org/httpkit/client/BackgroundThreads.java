package org.httpkit.client;

import org.httpkit.PrefixThreadFactory;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Daemon threads for work that may block and so must not run on a loop: channel factories, TLS
 * tasks, listeners, requests that follow redirects, name lookups under a deadline. Sources of
 * uploads have {@link SourceThreads}. Not API.
 */
public final class BackgroundThreads {
    private static final int LOOKUPS = 16;

    /**
     * A thread per job, reused: jobs may depend on each other's peers, so none may queue behind
     * another.
     */
    private static final ThreadPoolExecutor JOBS =
            new ThreadPoolExecutor(
                    0,
                    Integer.MAX_VALUE,
                    10,
                    TimeUnit.SECONDS,
                    new SynchronousQueue<>(),
                    new PrefixThreadFactory("http-kit-client-aux-"));

    /** Few threads: a resolver that hangs must not cost a thread per request. */
    private static final ThreadPoolExecutor LOOKUP =
            new ThreadPoolExecutor(
                    LOOKUPS,
                    LOOKUPS,
                    10,
                    TimeUnit.SECONDS,
                    new LinkedBlockingQueue<>(),
                    new PrefixThreadFactory("http-kit-client-dns-"));

    static {
        LOOKUP.allowCoreThreadTimeOut(true);
    }

    private BackgroundThreads() {}

    static void execute(Runnable job) {
        JOBS.execute(job);
    }

    /** None of them queues behind a user's callback. */
    public static ExecutorService jobs() {
        return JOBS;
    }

    /** A caller that abandons a job must {@link ThreadPoolExecutor#remove} it. */
    static ThreadPoolExecutor lookups() {
        return LOOKUP;
    }
}
