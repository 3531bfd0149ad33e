package org.httpkit.client;

import org.httpkit.HttpUtils;

import java.util.concurrent.ExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * The single call of a response's handler, on a worker pool; true once that has begun. A pool may
 * accept it and still throw, or run it immediately.
 *
 * <p>Created with the listener, since there may be no memory for it when it is needed.
 */
final class Delivery extends AtomicBoolean implements Runnable {
    private static final long serialVersionUID = 1;

    /** How often a loop retries a pool that has no memory. */
    private static final int MOST_ATTEMPTS = 12;

    private final transient IResponseHandler handler;
    private final transient ExecutorService pool;
    private transient PromptHandler.Arrived response;
    private transient Throwable failure;
    private transient int attempts;

    /** Receives the body that the handler reads; null if it is here. */
    private transient Thread loop;

    Delivery(IResponseHandler handler, ExecutorService pool) {
        this.handler = handler;
        this.pool = pool;
    }

    /** Hands over a response. */
    void succeed(PromptHandler.Arrived arrived) {
        response = arrived;
        deliver();
    }

    /** Reports a failure. */
    void fail(Throwable why) {
        if (!isTakenAtOnce(why)) {
            failure = why;
            deliver();
        }
    }

    /** As {@link #succeed}, on a loop, see {@link #deliverFromLoop}. */
    void succeedFromLoop(PromptHandler.Arrived arrived) {
        if (!isTakenAtOnce(arrived)) {
            response = arrived;
            deliverFromLoop();
        }
    }

    /**
     * As {@link #succeedFromLoop}, for a body that this loop is still receiving.
     *
     * @return false if the handler has been told of another failure
     */
    boolean streamFromLoop(PromptHandler.Arrived arrived) {
        if (isTakenAtOnce(arrived)) {
            return true;
        }
        loop = Thread.currentThread();
        response = arrived;
        return deliverFromLoop();
    }

    /** As {@link #fail}, on a loop, see {@link #deliverFromLoop}. */
    void failFromLoop(Throwable why) {
        if (!isTakenAtOnce(why)) {
            failure = why;
            deliverFromLoop();
        }
    }

    private boolean isTakenAtOnce(PromptHandler.Arrived arrived) {
        return handler instanceof PromptHandler && ((PromptHandler) handler).onArrival(arrived);
    }

    private boolean isTakenAtOnce(Throwable why) {
        return handler instanceof PromptHandler && ((PromptHandler) handler).onFailure(why);
    }

    /** There is no memory to convert the response. */
    void forget() {
        response = null;
    }

    private void deliver() {
        try {
            pool.execute(this);
        } catch (Throwable t) {
            refused(t);
        }
    }

    /**
     * As {@link #deliver}, but does not give up when the pool has no memory or thread: the handler
     * is user code and should not run on a loop. The exception thrown then makes the core retry
     * later.
     *
     * @return false if the handler has been told of another failure
     */
    private boolean deliverFromLoop() {
        try {
            pool.execute(this);
            return true;
        } catch (VirtualMachineError e) {
            if (++attempts < MOST_ATTEMPTS && !get()) {
                throw e;
            }
            return !refused(e);
        } catch (Throwable t) {
            return !refused(t);
        }
    }

    /**
     * @return whether the handler had to be told, on this thread
     */
    private boolean refused(Throwable why) {
        if (get()) {
            return false;
        }
        failure = why;
        run();
        return true;
    }

    @Override
    public void run() {
        if (compareAndSet(false, true)) {
            if (failure == null && Thread.currentThread() == loop) {
                tellElsewhere();
            } else {
                tellNow();
            }
        }
    }

    /** The pool runs this on the loop, which could not receive what the handler waits for. */
    private void tellElsewhere() {
        try {
            BackgroundThreads.execute(this::tellNow);
        } catch (Throwable noThread) {
            tellNow();
        }
    }

    private void tellNow() {
        try {
            tell();
        } catch (Throwable t) {
            // Thrown by the handler itself, which has had its call.
            HttpUtils.printError("a response handler failed", t);
        }
    }

    private void tell() {
        Throwable why = failure;
        Object body = null;
        // Cleared, so that a stream that the user has abandoned can be collected.
        PromptHandler.Arrived arrived = response;
        response = null;
        if (why == null) {
            try {
                body = arrived.body();
            } catch (Throwable t) {
                why = t;
            }
        }
        if (why == null) {
            handler.onSuccess(arrived.status(), arrived.headers(), body);
        } else {
            handler.onThrowable(why);
        }
    }

    /** For the exception of a pool that refuses it. */
    @Override
    public String toString() {
        return "the response of " + handler;
    }
}
