package org.httpkit.server;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The server's own threads. Each takes work from the native queue; one call sends a response and
 * takes the next piece of work.
 *
 * <p>There are few at first. When all are stuck in blocking handlers, more are started, up to the
 * maximum, and threads end after being idle for a while. With virtual threads, those run the queued
 * work instead.
 */
final class PullingWorkers extends Workers {
    private static final String NO_THREAD = "cannot start a worker thread";

    /** How long to wait before retrying when no thread could be started. */
    private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(100);

    private final int first;
    private final int max;
    private final PrefixThreadFactory factory;
    private final ExecutorService virtual;
    private final AtomicInteger onVirtual = new AtomicInteger();

    /**
     * Runs what is not work of the native queue, with as many threads as that may have; null if
     * virtual threads do.
     */
    private final GrowingPool callbacks;

    /** All threads that were started and have not ended; guards itself and {@link #wanted}. */
    private final List<Thread> threads = new ArrayList<>();

    /** The target number of threads; more are started while there are fewer. */
    private int wanted;

    /** No thread could be started, which has been logged. */
    private volatile boolean failing;

    private volatile long failedAt;

    PullingWorkers(HttpServer server, ServerOptions options) {
        super(server);
        this.first = Math.min(options.keptThreads(), Runtime.getRuntime().availableProcessors());
        this.max = options.maxThreads;
        this.factory = new PrefixThreadFactory(options.threadPrefix);
        this.virtual = options.virtual ? VirtualThreads.newExecutor() : null;
        this.callbacks = virtual == null ? new GrowingPool(max, factory) : null;
    }

    @Override
    void start() {
        synchronized (threads) {
            wanted = first;
        }
        startNext();
        synchronized (threads) {
            if (threads.isEmpty()) {
                throw new IllegalStateException(NO_THREAD);
            }
        }
    }

    /**
     * Starts the next wanted thread, which starts the one after it: the loop, which calls this too,
     * only has time for one.
     */
    private void startNext() {
        Thread thread = null;
        try {
            thread = nextThread();
            if (thread != null) {
                thread.start();
                failing = false;
            }
        } catch (Throwable e) {
            // Queued work asks for more again.
            synchronized (threads) {
                threads.remove(thread);
                wanted = threads.size();
            }
            failedAt = System.nanoTime();
            if (!failing) {
                failing = true;
                log(() -> server.log.error(NO_THREAD, e));
            }
        }
    }

    private Thread nextThread() {
        synchronized (threads) {
            if (shut || threads.size() >= wanted) {
                return null;
            }
            Thread thread = factory.newThread(new Worker());
            threads.add(thread);
            return thread;
        }
    }

    /** Any failure costs one piece of work, never the thread. */
    private final class Worker implements Runnable {
        private ResponseWriter out;

        @Override
        public void run() {
            boolean superfluous = false;
            try {
                startNext();
                if (!shut) {
                    pull();
                    superfluous = true;
                }
            } finally {
                ended(superfluous);
            }
        }

        /** Runs until the queue is shut and empty, or this thread has been idle for too long. */
        private void pull() {
            byte[] block = null;
            boolean over = false;
            while (!over) {
                try {
                    block = block == null ? Native.take(server.handle) : performAndTake(block);
                    over = block == null;
                } catch (Throwable e) {
                    block = null;
                    server.log.error(ServerLog.WORKER, e);
                }
            }
        }

        private byte[] performAndTake(byte[] block) {
            long handle = RequestBlock.handle(block);
            try {
                return RequestBlock.kind(block) == Abi.KIND_EVENTS
                        ? runCallbacksAndTake(block, handle)
                        : respondAndTake(block, handle);
            } catch (Throwable e) {
                Native.abandon(handle);
                throw e;
            }
        }

        private byte[] runCallbacksAndTake(byte[] block, long handle) {
            ChannelEvents.runSome(server, block);
            clearInterrupt();
            return Native.takeAfter(server.handle, handle);
        }

        private byte[] respondAndTake(byte[] block, long handle) {
            if (out == null) {
                out = new ResponseWriter();
            }
            clearLateInterrupt();
            boolean ready = server.ringHandler.handle(new RequestBlock(block), out);
            clearInterrupt();
            return ready
                    ? Responses.sendAndTake(server.handle, handle, out)
                    : Native.take(server.handle);
        }

        /** An interrupt was meant for the handler or callback, which has ended. */
        private void clearInterrupt() {
            Thread.interrupted();
        }
    }

    /** Stops counting this thread, and replaces it if it is still wanted. */
    private void ended(boolean superfluous) {
        synchronized (threads) {
            threads.remove(Thread.currentThread());
            if (superfluous) {
                wanted--;
            }
        }
        startNext();
    }

    @Override
    void submit(byte[] block) {
        if (virtual == null || shut) {
            reject(block, null);
            return;
        }
        virtual.execute(() -> performCounted(block));
    }

    private void performCounted(byte[] block) {
        onVirtual.incrementAndGet();
        try {
            perform(block);
        } finally {
            onVirtual.decrementAndGet();
        }
    }

    @Override
    int virtualThreads() {
        return onVirtual.get();
    }

    @Override
    void starved(int waiting) {
        if (virtual != null) {
            Native.serverSpill(server.handle);
            return;
        }
        if (failing && System.nanoTime() - failedAt < RETRY_NANOS) {
            return;
        }
        synchronized (threads) {
            int size = threads.size();
            // Not while some are still being started. At most doubles their number; then the need
            // is checked again.
            if (size >= wanted) {
                wanted = size + Math.min(waiting, Math.min(Math.max(size, 1), max - size));
            }
        }
        startNext();
    }

    /** Rare, and not work for the native queue. */
    @Override
    void execute(Runnable task) {
        if (!isAccepted(task)) {
            aside(task);
        }
    }

    private boolean isAccepted(Runnable task) {
        if (virtual == null) {
            synchronized (threads) {
                if (!shut) {
                    callbacks.execute(task);
                }
                return !shut;
            }
        }
        try {
            virtual.execute(task);
            return true;
        } catch (Throwable e) {
            return false; // stopped meanwhile, or there is no memory for its thread
        }
    }

    @Override
    void stop(int timeout) {
        List<Thread> running;
        synchronized (threads) {
            shut = true;
            running = new ArrayList<>(threads);
            if (callbacks != null) {
                List<Thread> calling = callbacks.end();
                calling.remove(Thread.currentThread()); // a callback may stop the server
                running.addAll(calling);
            }
        }
        Native.serverShutQueue(server.handle);
        if (virtual != null) {
            virtual.shutdown();
        }
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        boolean inTime = timeout > 0 && joinAll(running, deadline);
        if (callbacks != null) {
            leaveUnbegun();
        }
        if (!inTime) {
            // Otherwise queued work would begin after the interrupt, and nothing would end it.
            Native.serverSpill(server.handle);
            interrupt(running);
        }
    }

    /** Callbacks for which there was no thread in time run elsewhere: none is lost. */
    private void leaveUnbegun() {
        for (Runnable task = callbacks.poll(); task != null; task = callbacks.poll()) {
            try {
                aside(task);
            } catch (Throwable e) {
                Loggers.complain("a callback that had not begun when the server stopped", null, e);
            }
        }
    }

    private boolean joinAll(List<Thread> running, long deadline) {
        try {
            for (Thread thread : running) {
                TimeUnit.NANOSECONDS.timedJoin(thread, deadline - System.nanoTime());
                if (thread.isAlive()) {
                    return false;
                }
            }
            return virtual == null
                    || virtual.awaitTermination(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        }
    }

    private void interrupt(List<Thread> running) {
        for (Thread thread : running) {
            thread.interrupt();
        }
        if (virtual != null) {
            virtual.shutdownNow();
        }
    }
}
