package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;
import org.httpkit.logger.EventLogger;

import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicBoolean;

/** The threads that run a server's handlers and callbacks. */
abstract class Workers {
    static final String REJECTED = "failed to submit task to executor service";
    static final String STOPPING = "the server is stopping: further requests get 503";
    static final String ON_LOOP =
            "this thread is the server's loop, on which the :worker-pool ran the handler or"
                    + " callback: it cannot wait for its own peers";
    private static final String CALLBACK = "callback of a send";
    static final String QUEUE_FULL = "increase :queue-size if this happens often";

    /** Runs the core's log calls, in order; when too many are queued, further ones are dropped. */
    private static final GrowingPool LOGS = GrowingPool.named("http-kit-server-log", 1, 10_000);

    /**
     * Runs callbacks that no pool accepts any more, at most one per connection; they may wait for
     * each other.
     */
    private static final GrowingPool CALLBACKS =
            GrowingPool.named("http-kit-server-aside", 256, Integer.MAX_VALUE);

    final HttpServer server;
    volatile boolean shut;
    private final AtomicBoolean stoppingLogged = new AtomicBoolean();
    private final LogLimit rejected;
    private final LogLimit queueFull;

    /** Closings that wait for the end of {@code on-open}, or run since it takes long. */
    final Map<Closing, FutureTask<?>> opening = new ConcurrentHashMap<>();

    /** Callbacks of channels closed by {@code stop}. */
    private final Queue<FutureTask<?>> closings = new ConcurrentLinkedQueue<>();

    /** Threads that run such callbacks. */
    private final Set<Thread> awaited = ConcurrentHashMap.newKeySet();

    Workers(HttpServer server) {
        this.server = server;
        this.rejected = new LogLimit(REJECTED, server.options.errorLogger);
        this.queueFull = new LogLimit(QUEUE_FULL, server.options.errorLogger);
        // Makes the JVM link it now, while there is memory: abandoning an exchange takes its
        // handle.
        RequestBlock.handle(new byte[Long.BYTES]);
    }

    static Workers of(HttpServer server, ServerOptions options) {
        if (options.embedded != null) {
            return new EmbeddedWorkers(server, options.embedded);
        }
        return options.pool == null
                ? new PullingWorkers(server, options)
                : new ExecutorWorkers(server, options.pool);
    }

    abstract void start();

    /** Runs work that no thread pulls; if that fails, rejects it. Called on a loop. */
    final void accept(byte[] block) {
        try {
            submit(block);
        } catch (Throwable e) {
            reject(block, e);
        }
    }

    /** Runs work on the pool, or throws. Called on a loop, so it must not block. */
    abstract void submit(byte[] block);

    /** {@code waiting} pieces of work are queued, and no thread takes them. Called on a loop. */
    abstract void starved(int waiting);

    /** Runs one of the server's own tasks that call user code. */
    abstract void execute(Runnable task);

    /** Gives running work {@code timeout} msecs to end, then interrupts it. */
    abstract void stop(int timeout);

    /** Virtual threads that run work now. */
    int virtualThreads() {
        return 0;
    }

    boolean isShut() {
        return shut;
    }

    /**
     * A handler or callback begins on this thread: an interrupt was meant for one before, which has
     * ended, unless it is a stop's.
     */
    final void clearLateInterrupt() {
        if (Thread.interrupted() && shut) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Classes cannot be loaded once the process is out of descriptors, and that must be logged.
     * Starts no thread: an idle one would keep a class loader alive.
     */
    static void loadWhatLoggingNeeds() {
        GrowingPool.load();
        Loggers.event(EventLogger.NOP, "");
    }

    /** Runs a call of a user's logger. Never throws. */
    static void log(Runnable call) {
        try {
            boolean alone = !LOGS.isCrowded();
            if (!LOGS.run(call) && alone) {
                System.err.println(
                        "http-kit: what is to be logged waits until a thread can be started for"
                                + " it");
            }
        } catch (Throwable e) {
            Loggers.complain("a message of the server", null, e);
        }
    }

    /** Runs a callback outside of the pool. */
    static void aside(Runnable callback) {
        CALLBACKS.execute(callback);
    }

    final void refused(Throwable cause) {
        if (!shut) {
            rejected.log(orQueueFull(cause));
        } else if (stoppingLogged.compareAndSet(false, true)) {
            server.log.warning(STOPPING, null);
        }
        server.log.event(server.log.events.serverStatus503);
    }

    final void eventsRefused(Throwable cause) {
        if (!shut) {
            queueFull.log(orQueueFull(cause));
        }
        server.log.event(server.log.events.serverStatus503Todo);
    }

    static Throwable orQueueFull(Throwable cause) {
        return cause != null ? cause : new RejectedExecutionException("queue full");
    }

    /** Logs how many refusals were not logged. Never blocks. */
    final void tellRefused() {
        rejected.tellOmitted();
        queueFull.tellOmitted();
    }

    /** Runs one block; exceptions caught here were not handled with the user code. */
    final void perform(byte[] block) {
        try {
            if (RequestBlock.kind(block) == Abi.KIND_EVENTS) {
                ChannelEvents.run(server, block);
            } else {
                request(new RequestBlock(block));
            }
        } catch (Throwable e) {
            Native.abandon(RequestBlock.handle(block));
            server.log.error(ServerLog.WORKER, e);
        }
    }

    /** Runs the handler and sends its response, if there is one. */
    private void request(RequestBlock block) {
        ResponseWriter out = server.writers.borrow();
        if (server.ringHandler.handle(block, out)) {
            Responses.send(block.handle(), out);
        }
        server.writers.giveBack(out);
    }

    /** Runs a user's callback on the pool. Called on a loop, between others, so it never throws. */
    final void callback(Runnable callback) {
        try {
            execute(() -> runCallback(callback));
        } catch (Throwable e) {
            Loggers.complain(CALLBACK, null, e);
        }
    }

    private void runCallback(Runnable callback) {
        try {
            callback.run();
        } catch (Throwable e) {
            server.log.error(CALLBACK, e);
        }
    }

    /** A task for {@link #closing}. */
    final FutureTask<?> closingTask(Runnable callbacks) {
        return new FutureTask<>(
                () -> {
                    awaited.add(Thread.currentThread());
                    try {
                        callbacks.run();
                    } finally {
                        awaited.remove(Thread.currentThread());
                    }
                },
                null);
    }

    /** Whether {@code stop} may be waiting for this thread. */
    final boolean isAwaited() {
        return awaited.contains(Thread.currentThread());
    }

    /** Runs callbacks of a channel closed by {@code stop}, which waits for them. */
    final void closing(FutureTask<?> callbacks) {
        closings.add(callbacks);
        aside(callbacks);
    }

    /**
     * Waits until the callbacks of channels closed by {@code stop} have run; for a limited time,
     * since one may hang.
     */
    final void awaitClosings(long deadline) throws InterruptedException {
        for (FutureTask<?> next = closings.poll(); next != null; next = closings.poll()) {
            try {
                next.get(deadline - System.nanoTime(), TimeUnit.NANOSECONDS);
            } catch (ExecutionException e) {
                server.log.error(ServerLog.CLOSE_HANDLER, e.getCause());
            } catch (TimeoutException e) {
                return;
            }
        }
    }

    /**
     * A pool refused a block: tells its peer or cuts the connection, so no peer waits forever.
     * Called on a loop, between other blocks, so it never throws.
     */
    final void reject(byte[] block, Throwable cause) {
        try {
            refuse(block, cause);
        } catch (Throwable e) {
            Native.abandon(RequestBlock.handle(block));
            Loggers.complain(REJECTED, cause, e);
        }
    }

    private void refuse(byte[] block, Throwable cause) {
        long handle = RequestBlock.handle(block);
        if (RequestBlock.kind(block) == Abi.KIND_REQUEST) {
            Native.refuse(handle, shut);
            log(() -> refused(cause));
        } else if (ChannelEvents.isClosing(block)) {
            // One of ours, perhaps since a message was refused, which has been told of.
            boolean isTold = ChannelEvents.closeCode(block) == 0;
            FutureTask<?> callbacks =
                    closingTask(
                            () -> {
                                try {
                                    if (!shut && !isTold) {
                                        eventsRefused(cause);
                                    }
                                } finally {
                                    perform(block);
                                }
                            });
            if (shut) {
                closing(callbacks);
            } else {
                aside(callbacks);
            }
        } else {
            Native.overload(handle);
            log(() -> eventsRefused(cause));
        }
    }
}
