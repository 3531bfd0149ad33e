package org.httpkit.server;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;

/** A user's own pool: every request and every run of a channel's callbacks is a task of it. */
final class ExecutorWorkers extends Workers {
    private final ExecutorService pool;

    ExecutorWorkers(HttpServer server, ExecutorService pool) {
        super(server);
        this.pool = pool;
    }

    @Override
    void start() {}

    @Override
    void submit(byte[] block) {
        pool.submit(() -> perform(block));
    }

    @Override
    void starved(int waiting) {}

    @Override
    void execute(Runnable task) {
        try {
            pool.execute(task);
        } catch (Throwable rejected) {
            aside(task);
        }
    }

    @Override
    void stop(int timeout) {
        shut = true;
        shutDown(pool, timeout);
    }

    /** Gives a pool's tasks {@code timeout} msecs to end, then interrupts them. */
    static void shutDown(ExecutorService pool, int timeout) {
        pool.shutdown();
        try {
            if (timeout <= 0 || !pool.awaitTermination(timeout, TimeUnit.MILLISECONDS)) {
                pool.shutdownNow();
            }
        } catch (InterruptedException e) {
            pool.shutdownNow();
            Thread.currentThread().interrupt();
        }
    }
}
