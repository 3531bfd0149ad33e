package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * The single thread that calls an {@link IHandler}. In http-kit that is the loop, so handlers rely
 * on never being called by two threads at a time; here it is a thread apart from the loop.
 */
final class EmbeddedWorkers extends Workers {
    private final IHandler handler;

    /**
     * Never shut down: close events are delivered even after the stop, in order. It ends when idle.
     */
    private final GrowingPool thread =
            GrowingPool.named("http-kit-server-handler", 1, Integer.MAX_VALUE);

    /** The thread, while it is in a call. */
    private volatile Thread running;

    /** The server has stopped and waited: requests still queued get no response. */
    private volatile boolean over;

    EmbeddedWorkers(HttpServer server, IHandler handler) {
        super(server);
        this.handler = handler;
    }

    @Override
    void start() {}

    @Override
    void submit(byte[] block) {
        if (RequestBlock.kind(block) == Abi.KIND_EVENTS) {
            // On this thread, however late: two must not call the handler.
            thread.execute(() -> call(block));
        } else if (shut) {
            reject(block, null);
        } else {
            thread.runOrThrow(() -> call(block));
        }
    }

    private void call(byte[] block) {
        running = Thread.currentThread();
        try {
            if (RequestBlock.kind(block) == Abi.KIND_EVENTS) {
                events(block);
            } else if (!over) {
                server.embedded.request(new RequestBlock(block));
            }
        } catch (Throwable e) {
            Native.abandon(RequestBlock.handle(block));
            server.log.error(ServerLog.WORKER, e);
        } finally {
            running = null;
            // An interrupt was meant for the handler, which has ended.
            Thread.interrupted();
        }
    }

    /** Events that arrive meanwhile run after other queued work. */
    private void events(byte[] block) {
        for (byte[] next = block; next != null; ) {
            byte[] after = server.embedded.events(next);
            next = after == null || enqueue(after) ? null : after;
        }
    }

    /** False if there is no memory for it: then this thread must run these events. */
    private boolean enqueue(byte[] events) {
        try {
            thread.execute(() -> call(events));
            return true;
        } catch (Throwable e) {
            return false;
        }
    }

    @Override
    void starved(int waiting) {}

    @Override
    void execute(Runnable task) {
        thread.execute(task);
    }

    @Override
    void stop(int timeout) {
        shut = true;
        Native.serverShutQueue(server.handle);
        boolean inTime = running == Thread.currentThread() || isDoneIn(timeout);
        over = true;
        Thread busy = running;
        if (!inTime && busy != null) {
            busy.interrupt();
        }
        try {
            handler.close(inTime ? timeout : 0);
        } catch (Throwable e) {
            server.log.error("close handler", e);
        }
    }

    /** Waits for queued calls. */
    private boolean isDoneIn(int timeout) {
        FutureTask<?> last = new FutureTask<>(() -> {}, null);
        thread.execute(last);
        try {
            last.get(Math.max(0, timeout), TimeUnit.MILLISECONDS);
            return true;
        } catch (TimeoutException e) {
            return false;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return false;
        } catch (java.util.concurrent.ExecutionException e) {
            throw new IllegalStateException(e); // the task is empty
        }
    }
}
