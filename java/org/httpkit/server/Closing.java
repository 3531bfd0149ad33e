package org.httpkit.server;

import clojure.lang.IFn;

import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/** The close of a channel: reported once to its close handlers, even if they are set later. */
final class Closing {
    /** We closed the channel; not a WebSocket code. */
    static final int SERVER_CLOSE = 0;

    /**
     * Actions that happen once, one bit of {@link #done} each: an object for each would cost every
     * idle channel memory.
     */
    private static final int REPORTED = 1;

    private static final int HANDLER_RAN = 2;
    private static final int RING_HANDLER_RAN = 4;

    /** An embedder has been told that the peer has disconnected or half-closed. */
    static final int EMBEDDER_TOLD = 8;

    /** From before {@code as-channel} sets the handlers until {@code on-open} has returned. */
    private static final int OPENING = 16;

    /** The close handlers wait for the end of that: the peer had closed the channel by then. */
    private static final int DEFERRED = 32;

    private static final AtomicIntegerFieldUpdater<Closing> DONE =
            AtomicIntegerFieldUpdater.newUpdater(Closing.class, "done");

    private final AsyncChannel channel;
    private volatile int done;

    /**
     * Set before {@link AsyncChannel#closedRan} is read; {@link #tell} sets that first, then reads
     * this.
     */
    private volatile IFn handler;

    private volatile IFn ringHandler;
    private volatile int cause;
    private volatile int code;
    private volatile String reason = "";

    Closing(AsyncChannel channel) {
        this.channel = channel;
    }

    /** True for the first call with this bit. */
    boolean claim(int bit) {
        return claim(bit, bit);
    }

    /** As {@link #claim}, but false while the handlers are to wait. */
    private boolean claimRun(int bit) {
        return claim(bit, bit | DEFERRED);
    }

    private boolean claim(int bit, int unless) {
        int before;
        do {
            before = done;
            if ((before & unless) != 0) {
                return false;
            }
        } while (!DONE.compareAndSet(this, before, before | bit));
        return true;
    }

    /** See {@link AsyncChannel#beginOpening}. */
    void beginOpening() {
        int before;
        int now;
        do {
            before = done;
            now = before | OPENING | ((before & REPORTED) == 0 ? 0 : DEFERRED);
        } while (!DONE.compareAndSet(this, before, now));
        if ((now & DEFERRED) != 0) {
            LateClosing.afterOpening(channel.server, this);
        }
    }

    /** Runs the close handlers that have waited, unless the call that ended it before did. */
    void endOpening() {
        int before;
        do {
            before = done;
        } while (!DONE.compareAndSet(this, before, before & ~(OPENING | DEFERRED)));
        if ((before & DEFERRED) != 0) {
            closed(false);
            channel.server.workers.opening.remove(this);
        }
    }

    boolean isDeferred() {
        return (done & DEFERRED) != 0;
    }

    /** Leaves the close handlers to {@link #endOpening}. @return whether that is still to come */
    private boolean defer() {
        int before;
        do {
            before = done;
            if ((before & OPENING) == 0) {
                return false;
            }
        } while (!DONE.compareAndSet(this, before, before | DEFERRED));
        return true;
    }

    boolean hasHandler() {
        return handler != null || ringHandler != null;
    }

    /**
     * See {@link AsyncChannel#setCloseHandler}. @return false if the channel is closed: then the
     * handler has been called
     */
    boolean setHandler(IFn given) {
        AsyncChannel.requireUnset(handler, "close");
        handler = given;
        boolean open = !channel.closedRan.get();
        if (!open) {
            runHandler();
        }
        return open;
    }

    /** As {@link #setHandler}, see {@link AsyncChannel#setCloseRingHandler}. */
    boolean setRingHandler(IFn given) {
        AsyncChannel.requireUnset(ringHandler, "close");
        ringHandler = given;
        boolean open = !channel.closedRan.get();
        if (!open) {
            runRingHandler();
        }
        return open;
    }

    /** We closed the channel, without a code. */
    void tellServerClose(boolean throwing) {
        tell(SERVER_CLOSE, SERVER_CLOSE, "", throwing);
    }

    /**
     * The channel is closed: the first call runs the close handlers, or queues them, see {@link
     * NestedClosings}.
     *
     * @param cause passed to the close handler, as a keyword
     * @param code passed to the Ring handler
     * @param throwing whether to throw their exceptions to the caller, instead of logging them
     */
    void tell(int cause, int code, String reason, boolean throwing) {
        if (report(cause, code, reason)) {
            closed(throwing);
        }
    }

    /** As {@link #tell}, after {@code on-open}, if that runs; exceptions are logged. */
    void tellOfPeer(int code, String reason) {
        if (report(code, code, reason)) {
            if (defer()) {
                LateClosing.afterOpening(channel.server, this);
            } else {
                closed(false);
            }
        }
    }

    private boolean report(int cause, int code, String reason) {
        if (!claim(REPORTED)) {
            return false;
        }
        this.cause = cause;
        this.code = code;
        this.reason = reason;
        return true;
    }

    private void closed(boolean throwing) {
        channel.closedRan.set(true);
        channel.sender.forgetClosed();
        if (hasHandler()) {
            NestedClosings.run(this, throwing);
        } else {
            runHandlers(throwing);
        }
    }

    /** Runs each that is set and has not run; see {@link #tell}. */
    void runHandlers(boolean throwing) {
        try {
            runBoth();
        } catch (Throwable e) {
            if (throwing) {
                throw e;
            }
            ServerLog log = channel.log();
            log.error(ServerLog.CLOSE_HANDLER, e);
            log.event(log.events.serverChannelCloseError);
        } finally {
            Topics.end(channel);
        }
    }

    /** Closes the channel without running the close handlers. */
    void tellNone() {
        claim(REPORTED);
        channel.closedRan.set(true);
        channel.server.channels.forget(channel);
    }

    private void runBoth() {
        try {
            runHandler();
        } finally {
            runRingHandler();
        }
    }

    /** Closing and setting the handler may race: the first to get here runs it. */
    private void runHandler() {
        if (handler != null && claimRun(HANDLER_RAN)) {
            handler.invoke(CloseCodes.keyword(cause));
        }
    }

    private void runRingHandler() {
        if (ringHandler != null && claimRun(RING_HANDLER_RAN)) {
            ringHandler.invoke(code, reason);
        }
    }

    /** See {@link AsyncChannel#reset}. */
    void reset() {
        handler = ringHandler = null;
        channel.closedRan.set(false);
        done = 0;
    }
}
