package org.httpkit.client;

import org.httpkit.PrefixThreadFactory;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Daemon threads for work that may block and so must not run on a loop: channel factories, TLS
 * tasks, listeners, requests that follow redirects. Sources of uploads have {@link SourceThreads},
 * name lookups under a deadline {@link Lookups}. Not API.
 */
public final class BackgroundThreads {
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

    /** For what follows a response, and waits for no peer. */
    private static final ThreadPoolExecutor FOLLOWING =
            Handover.pool(256, new PrefixThreadFactory("http-kit-client-next-"));

    private BackgroundThreads() {}

    static void execute(Runnable job) {
        JOBS.execute(job);
    }

    /** Redirects and conversions, which need not queue behind a user's callbacks. */
    public static ExecutorService following() {
        return FOLLOWING;
    }
}
