package org.httpkit.server;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * The server's own threads: each takes work from the native queue, and hands an answer down and
 * takes the next piece of work in one call.
 *
 * <p>When all of them are stuck in blocking handlers, more are started, up to the maximum; or, on
 * JVMs that have them, virtual threads get what waits.
 */
final class PullingWorkers extends Workers {
    private final int min;
    private final int max;
    private final PrefixThreadFactory factory;
    private final ExecutorService virtual;
    private final List<Thread> threads = new ArrayList<>();

    PullingWorkers(HttpServer server, ServerOptions options) {
        super(server);
        this.min = options.minThreads;
        this.max = options.maxThreads;
        this.factory = new PrefixThreadFactory(options.threadPrefix);
        this.virtual = options.virtual ? VirtualThreads.newExecutor() : null;
    }

    @Override
    void start() {
        grow(min);
    }

    private void grow(int to) {
        synchronized (threads) {
            while (!shut && threads.size() < to) {
                Thread thread = factory.newThread(this::pull);
                threads.add(thread);
                thread.start();
            }
        }
    }

    private int size() {
        synchronized (threads) {
            return threads.size();
        }
    }

    /** Whatever goes wrong costs one piece of work, never the thread. */
    private void pull() {
        ResponseWriter out = new ResponseWriter();
        byte[] block = null;
        do {
            try {
                block = block == null ? Native.take(server.handle) : performAndTake(block, out);
            } catch (Throwable e) {
                server.logError("worker", e);
                block = null;
            }
        } while (block != null || !shut);
    }

    private byte[] performAndTake(byte[] block, ResponseWriter out) {
        long exchange = RequestBlock.handle(block);
        try {
            boolean ready = false;
            if (RequestBlock.kind(block) == Abi.KIND_EVENTS) {
                ChannelEvents.run(server, block);
            } else {
                ready = server.ringHandler.handle(new RequestBlock(block), out);
            }
            // An interrupt was meant for the handler that is over.
            Thread.interrupted();
            return ready ? answerAndTake(exchange, out) : Native.take(server.handle);
        } catch (Throwable e) {
            Native.abort(exchange);
            throw e;
        }
    }

    private byte[] answerAndTake(long exchange, ResponseWriter out) {
        byte[] large = out.large;
        out.large = null;
        return Native.answerAndTake(
                server.handle,
                exchange,
                out.status,
                out.flags,
                out.declared,
                out.buffer,
                out.head,
                out.body,
                large,
                out.largeStart,
                out.largeLength);
    }

    @Override
    void submit(byte[] block) {
        if (virtual == null || shut) {
            reject(block, null);
            return;
        }
        try {
            virtual.execute(() -> perform(block));
        } catch (Throwable e) {
            // A stop came between, or there is no memory: the other blocks of this turn are not to suffer.
            reject(block, e);
        }
    }

    @Override
    void starved(int waiting) {
        if (virtual != null) {
            Native.serverSpill(server.handle);
            return;
        }
        int size = size();
        grow((int) Math.min(max, (long) size + Math.min(waiting, size)));
    }

    /** Rare, and not what the native queue carries. */
    @Override
    void execute(Runnable task) {
        if (virtual == null || shut) {
            aside(task);
            return;
        }
        try {
            virtual.execute(task);
        } catch (RejectedExecutionException e) {
            aside(task); // a stop came between
        }
    }

    @Override
    void stop(int timeout) {
        List<Thread> running;
        synchronized (threads) {
            shut = true;
            running = new ArrayList<>(threads);
        }
        Native.serverShutQueue(server.handle);
        if (virtual != null) {
            virtual.shutdown();
        }
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        if (timeout <= 0 || !joinAll(running, deadline)) {
            // What waits would begin after the interrupt, and nobody would end it.
            Native.serverSpill(server.handle);
            interrupt(running);
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
