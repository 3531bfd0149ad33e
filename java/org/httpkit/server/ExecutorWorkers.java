package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;
import org.httpkit.logger.ContextLogger;

import java.util.Arrays;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;

/** A user's own pool: every request and every run of a channel's callbacks is a task of it. */
final class ExecutorWorkers extends Workers {
    private final Unbegun unbegun;

    /** Requests may get 503 while they wait for the pool. */
    private final boolean timesOut;

    ExecutorWorkers(HttpServer server, ExecutorService pool) {
        super(server);
        this.timesOut = server.options.limits("handler-timeout");
        this.unbegun = new Unbegun(pool);
    }

    @Override
    void start() {}

    @Override
    void submit(byte[] block) {
        if (shut) {
            reject(block, null); // some pools drop tasks then, or cannot be shut down
        } else {
            byte[] rest = rest(block);
            unbegun.submit(new Work(block), () -> reject(rest, null));
        }
    }

    /** What to reject of a block that the pool has dropped: its body or messages are lost. */
    private static byte[] rest(byte[] block) {
        boolean small =
                RequestBlock.kind(block) == Abi.KIND_EVENTS && ChannelEvents.isClosing(block);
        return small ? block : Arrays.copyOf(block, ChannelEvents.START);
    }

    /** No handler is called in vain, as none is from the queue of the server's own threads. */
    private static boolean forgetIfOver(byte[] block) {
        long handle = RequestBlock.handle(block);
        if (RequestBlock.kind(block) != Abi.KIND_REQUEST || Native.isOpen(handle)) {
            return false;
        }
        Native.refuse(handle, true); // sends nothing any more
        return true;
    }

    private final class Work extends Unbegun.Task {
        private final byte[] block;

        Work(byte[] block) {
            this.block = block;
        }

        @Override
        void perform() {
            if (!timesOut || !forgetIfOver(block)) {
                ExecutorWorkers.this.perform(block);
            }
        }

        @Override
        void drop() {
            reject(block, null);
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
        unbegun.shutDown(timeout, server.options.errorLogger);
    }

    /**
     * Gives a pool's tasks {@code timeout} msecs to end, then interrupts them. Logs what the pool
     * throws: that of a container does, since only the container may shut it down.
     *
     * @return whether all have ended
     */
    static boolean shutDown(
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
        return ended;
    }
}
