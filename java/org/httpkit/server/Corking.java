package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/** Which sends of a channel may be combined: those of the thread that runs its handler. */
final class Corking {
    /** The thread that runs the handler, or a callback. The one that makes the channel does. */
    private volatile Thread thread = Thread.currentThread();

    /** This thread begins to run callbacks. */
    void begin() {
        thread = Thread.currentThread();
    }

    /**
     * The handler or the callbacks are over: what is corked leaves.
     *
     * @param taken the channel whose next events the caller takes, which does the same; or 0
     */
    void end(long channel, long taken) {
        thread = null;
        if (channel != taken) {
            Native.uncork(channel);
        }
    }

    void continueAs(Corking other) {
        thread = other.thread;
    }

    /** {@code Abi.CORK} or 0, for a send by this thread. */
    int flag() {
        return Thread.currentThread() == thread ? Abi.CORK : 0;
    }
}
