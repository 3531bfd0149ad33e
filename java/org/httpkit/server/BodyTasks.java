package org.httpkit.server;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;
import org.httpkit.jni.Native;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;

/**
 * Where a server's long and slow bodies are made: on threads of their own, so that no peer that
 * reads slowly holds a thread that runs handlers.
 */
final class BodyTasks {
    /**
     * For bodies that are read from a source; they hold no thread while they wait for their peers.
     */
    private static final int MAX_PUMPS = 256;

    /** For code that writes its body, and waits in that while its peer does not read. */
    private static final int MAX_WRITERS = 256;

    private static final String PREFIX = "http-kit-server-body-";

    private final Executor pumps;
    private final Executor writers;
    private final ConcurrentHashMap<Long, BodyPump> waiting = new ConcurrentHashMap<>();
    private final Set<BodyTask> going = ConcurrentHashMap.newKeySet();

    /**
     * @param virtual run each task on a virtual thread, as many as there are
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
     * @return whether {@code pump} will be run again when its peer has taken what waits, or runs
     *     already
     */
    boolean awaitsRoom(BodyPump pump) {
        long handle = pump.body.handle;
        waiting.put(handle, pump);
        return Native.awaitRoom(handle, OpenBody.WINDOW) || !waiting.remove(handle, pump);
    }

    /** All that waited for this peer is written, or the peer is gone. Called on a loop. */
    void drained(long handle) {
        BodyPump pump = waiting.remove(handle);
        if (pump != null) {
            run(pump);
        }
    }

    /**
     * @return whether pumps wait for a thread
     */
    boolean isCrowded() {
        return pumps instanceof GrowingPool && ((GrowingPool) pumps).isCrowded();
    }

    void ended(BodyTask task) {
        going.remove(task);
    }

    /**
     * @return whether bodies are being made
     */
    boolean areGoing() {
        return !going.isEmpty();
    }

    /** Interrupts the code that makes bodies. */
    void interrupt() {
        going.forEach(BodyTask::interrupt);
    }
}
