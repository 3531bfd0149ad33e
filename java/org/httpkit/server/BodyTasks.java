package org.httpkit.server;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;
import org.httpkit.jni.Native;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;

/**
 * Runs a server's long and slow bodies on threads of their own, so that a peer that reads slowly
 * never holds a handler thread.
 */
final class BodyTasks {
    /** For bodies read from a source; they hold no thread while they wait for their peers. */
    private static final int MAX_PUMPS = 256;

    /** For code that writes its body, and blocks while its peer does not read. */
    private static final int MAX_WRITERS = 256;

    private static final String PREFIX = "http-kit-server-body-";

    private final Executor pumps;
    private final Executor writers;
    private final ConcurrentHashMap<Long, BodyPump> waiting = new ConcurrentHashMap<>();
    private final Set<BodyTask> going = ConcurrentHashMap.newKeySet();

    /**
     * @param virtual run each task on a virtual thread, without a limit
     */
    BodyTasks(boolean virtual) {
        if (virtual) {
            pumps = writers = VirtualThreads.newExecutor();
        } else {
            PrefixThreadFactory factory = new PrefixThreadFactory(PREFIX);
            pumps = new GrowingPool(MAX_PUMPS, factory);
            writers = new GrowingPool(MAX_WRITERS, factory);
        }
    }

    /** Runs a task, now or when a thread is free. Never blocks, never throws. */
    void run(BodyTask task) {
        going.add(task);
        Executor threads = task instanceof BodyWriter ? writers : pumps;
        try {
            threads.execute(task::runHere);
        } catch (Throwable noMemory) {
            Native.abort(task.body.handle);
            Workers.aside(() -> task.refused(noMemory));
        }
    }

    /**
     * @return whether {@code pump} will run again once its peer has taken queued bytes, or already
     *     runs
     */
    boolean awaitsRoom(BodyPump pump) {
        long handle = pump.body.handle;
        waiting.put(handle, pump);
        return Native.awaitRoom(handle, OpenBody.WINDOW) || !waiting.remove(handle, pump);
    }

    /** All bytes queued for this peer are written, or it has disconnected. Called on a loop. */
    void drained(long handle) {
        BodyPump pump = waiting.remove(handle);
        if (pump != null) {
            run(pump);
        }
    }

    /**
     * @return whether pumps are queued for a thread
     */
    boolean isCrowded() {
        return pumps instanceof GrowingPool && ((GrowingPool) pumps).isCrowded();
    }

    void ended(BodyTask task) {
        going.remove(task);
    }

    /**
     * @return whether bodies are being produced
     */
    boolean areGoing() {
        return !going.isEmpty();
    }

    /** Interrupts the code that produces bodies. */
    void interrupt() {
        going.forEach(BodyTask::interrupt);
    }
}
