package org.httpkit.server;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * The one thread that calls an {@link IHandler}. In http-kit that is the loop, so handlers count on
 * not being called by two threads; ours keeps them off the loop.
 */
final class EmbeddedWorkers extends Workers {
    private final IHandler handler;
    /** Never shut down: closings are heard after the stop, in order. It ends by itself when idle. */
    private final ExecutorService thread =
            daemons(1, new LinkedBlockingQueue<>(), "http-kit-server-handler");
    /** The thread while it is in a call. */
    private volatile Thread running;
    /** The server stops and has waited: requests that still wait will not be answered. */
    private volatile boolean over;

    EmbeddedWorkers(HttpServer server, IHandler handler) {
        super(server);
        this.handler = handler;
    }

    @Override
    void start() {}

    @Override
    void submit(byte[] block) {
        if (shut && RequestBlock.kind(block) == Abi.KIND_REQUEST) {
            reject(block, null);
        } else {
            execute(() -> call(block));
        }
    }

    private void call(byte[] block) {
        running = Thread.currentThread();
        try {
            if (RequestBlock.kind(block) == Abi.KIND_EVENTS) {
                byte[] next = server.embedded.events(block);
                if (next != null) {
                    execute(() -> call(next));
                }
            } else if (!over) {
                server.embedded.request(new RequestBlock(block));
            }
        } catch (Throwable e) {
            server.logError("worker", e);
            Native.abort(RequestBlock.handle(block));
        } finally {
            running = null;
            // An interrupt was meant for the handler that is over.
            Thread.interrupted();
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
            server.logError("close handler", e);
        }
    }

    /** Waits for the calls that are queued. */
    private boolean isDoneIn(int timeout) {
        Future<?> last = thread.submit(() -> {});
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
