package org.httpkit.server;

import org.httpkit.logger.ContextLogger;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;

/** A user's own pool: every request and every run of a channel's callbacks is a task of it. */
final class ExecutorWorkers extends Workers {
    private final ExecutorService pool;
    private final Unbegun unbegun;

    ExecutorWorkers(HttpServer server, ExecutorService pool) {
        super(server);
        this.pool = pool;
        this.unbegun = new Unbegun(pool);
    }

    @Override
    void start() {}

    @Override
    void submit(byte[] block) {
        if (shut) {
            reject(block, null); // some pools drop tasks then, or cannot be shut down
        } else {
            unbegun.submit(new Work(block));
        }
    }

    private final class Work extends Unbegun.Task {
        private static final long serialVersionUID = 1;

        private final transient byte[] block;

        Work(byte[] block) {
            this.block = block;
        }

        @Override
        void perform() {
            ExecutorWorkers.this.perform(block);
        }

        @Override
        void drop() {
            reject(block, null);
        }

        @Override
        boolean isOver() {
            return server.channels.isOver(RequestBlock.handle(block));
        }
    }

    @Override
    void starved(int waiting) {}

    @Override
    void execute(Runnable task) {
        if (shut) {
            aside(task);
            return;
        }
        try {
            unbegun.submit(task, () -> aside(task));
        } catch (Throwable rejected) {
            aside(task);
        }
    }

    @Override
    void stop(int timeout) {
        shut = true;
        shutDown(pool, timeout, server.options.errorLogger);
        unbegun.dropAll();
    }

    /**
     * Gives a pool's tasks {@code timeout} msecs to end, then interrupts them. Logs what the pool
     * throws: that of a container does, since only the container may shut it down.
     */
    static void shutDown(
            ExecutorService pool, int timeout, ContextLogger<String, Throwable> errorLogger) {
        boolean ended = false;
        try {
            try {
                pool.shutdown();
                ended = timeout > 0 && pool.awaitTermination(timeout, TimeUnit.MILLISECONDS);
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } finally {
                if (!ended) {
                    pool.shutdownNow();
                }
            }
        } catch (Throwable e) {
            Loggers.log(errorLogger, "shut down the :worker-pool", e);
        }
    }
}
