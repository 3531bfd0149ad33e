package org.httpkit.server;

import clojure.lang.IFn;

import java.util.concurrent.atomic.AtomicIntegerFieldUpdater;

/** The end of a channel: told once to its close handlers, also to those that are set afterwards. */
final class Closing {
    /** Our own side has closed it; no WebSocket code. */
    static final int SERVER_CLOSE = 0;

    /**
     * What is done once, a bit each in {@link #done}: an object for each would cost every idle
     * channel memory.
     */
    private static final int REPORTED = 1;

    private static final int HANDLER_RAN = 2;
    private static final int RING_HANDLER_RAN = 4;

    /** An embedder has heard that the peer is gone, or has ended its side. */
    static final int EMBEDDER_TOLD = 8;

    private static final AtomicIntegerFieldUpdater<Closing> DONE =
            AtomicIntegerFieldUpdater.newUpdater(Closing.class, "done");

    private final AsyncChannel channel;
    private volatile int done;

    /**
     * Set before {@link AsyncChannel#closedRan} is looked at, and the other way round in {@link
     * #tell}.
     */
    private volatile IFn handler;

    private volatile IFn ringHandler;
    private volatile int cause;
    private volatile int code;
    private volatile String reason = "";

    Closing(AsyncChannel channel) {
        this.channel = channel;
    }

    /** Whether this is the first call with this bit. */
    boolean isFirst(int bit) {
        int before;
        do {
            before = done;
            if ((before & bit) != 0) {
                return false;
            }
        } while (!DONE.compareAndSet(this, before, before | bit));
        return true;
    }

    boolean hasHandler() {
        return handler != null || ringHandler != null;
    }

    /**
     * See {@link AsyncChannel#setCloseHandler}. @return false if the channel is closed: then it has
     * been called
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

    /** Our own side has closed the channel, with no code. */
    void tellServerClose(boolean throwing) {
        tell(SERVER_CLOSE, SERVER_CLOSE, "", throwing);
    }

    /**
     * The channel is closed: the first call runs the close handlers.
     *
     * @param cause what the close handler hears, as a keyword
     * @param code what the Ring handler hears
     * @param throwing whether the caller gets what they throw, or the log
     */
    void tell(int cause, int code, String reason, boolean throwing) {
        if (!isFirst(REPORTED)) {
            return;
        }
        this.cause = cause;
        this.code = code;
        this.reason = reason;
        channel.closedRan.set(true);
        channel.sender.forgetClosed();
        try {
            runHandlers();
        } catch (Throwable e) {
            if (throwing) {
                throw e;
            }
            ServerLog log = channel.server.log;
            log.error("on close handler", e);
            log.event(log.events.serverChannelCloseError);
        }
    }

    /** The channel is closed, and no close handler is told. */
    void tellNone() {
        isFirst(REPORTED);
        channel.closedRan.set(true);
        channel.server.channels.forget(channel);
    }

    private void runHandlers() {
        try {
            runHandler();
        } finally {
            runRingHandler();
        }
    }

    /** The closing and the setting of the handler may meet: the first of them runs it. */
    private void runHandler() {
        if (handler != null && isFirst(HANDLER_RAN)) {
            handler.invoke(CloseCodes.keyword(cause));
        }
    }

    private void runRingHandler() {
        if (ringHandler != null && isFirst(RING_HANDLER_RAN)) {
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
