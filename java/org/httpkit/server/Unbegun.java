package org.httpkit.server;

import org.httpkit.logger.ContextLogger;

import java.lang.ref.Reference;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;

/**
 * What a pool was given by one server and has not begun: a pool that is shut down drops that, and
 * need not say what it was; one that sheds load does so at any time. Work of other servers with the
 * same pool is not known here.
 *
 * <p>Only the pool holds a task, which may be large: one that is collected was dropped.
 */
final class Unbegun {
    /** Collected tasks that one submit cares for: a loop may be waiting for it. */
    private static final int MAX_COLLECTED = 16;

    /** How often to check whether a pool that could not be shut down has begun everything. */
    private static final int TICK_MILLIS = 5;

    /** Begun by the pool, or dropped by it: once. */
    abstract static class Task implements Runnable {
        private Entry entry;

        abstract void perform();

        /** The pool is shut down: does instead what peers and users wait for. */
        abstract void drop();

        @Override
        public final void run() {
            if (entry.take()) {
                perform();
            }
        }

        /** For the exception of a pool that refuses it. */
        @Override
        public String toString() {
            return "work of the server";
        }
    }

    private final class Entry extends WeakReference<Task> {
        final Runnable lost;

        /** The task, once the pool is being shut down. */
        Task kept;

        Entry(Task task, Runnable lost) {
            super(task, collected);
            this.lost = lost;
        }

        /** True for the one who is to care for the task. */
        boolean take() {
            return tasks.remove(this);
        }
    }

    private final ExecutorService pool;
    private final Set<Entry> tasks = ConcurrentHashMap.newKeySet();
    private final ReferenceQueue<Task> collected = new ReferenceQueue<>();
    private volatile boolean stopping;
    private volatile boolean dropped;

    Unbegun(ExecutorService pool) {
        this.pool = pool;
    }

    /**
     * Gives a task to the pool. Throws what the pool does, unless the task has begun.
     *
     * @param lost as {@link Task#drop}, for a task that was collected: must not refer to it
     */
    void submit(Task task, Runnable lost) {
        dropCollected();
        Entry entry = new Entry(task, lost);
        task.entry = entry;
        boolean known = false;
        try {
            tasks.add(entry);
            known = true;
            if (stopping) {
                entry.kept = task;
            }
            pool.submit(task);
        } catch (Throwable e) {
            if (entry.take() || !known) { // without memory, it may be added nevertheless
                throw e;
            }
        }
        if (dropped) {
            drop(entry);
        }
    }

    void submit(Runnable perform, Runnable drop) {
        submit(perform, drop, drop);
    }

    void submit(Runnable perform, Runnable drop, Runnable lost) {
        Task task =
                new Task() {
                    @Override
                    void perform() {
                        perform.run();
                    }

                    @Override
                    void drop() {
                        drop.run();
                    }
                };
        submit(task, lost);
    }

    private void dropCollected() {
        for (int i = 0; i < MAX_COLLECTED; i++) {
            Reference<? extends Task> next = collected.poll();
            if (next == null) {
                return;
            }
            drop((Entry) next);
        }
    }

    /**
     * Shuts the pool down, see {@link ExecutorWorkers#shutDown}, and drops what it has not begun
     * when the time is over, and what is submitted from now on.
     */
    void shutDown(int timeout, ContextLogger<String, Throwable> errorLogger) {
        stopping = true;
        tasks.forEach(entry -> entry.kept = entry.get());
        long deadline = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
        if (!ExecutorWorkers.shutDown(pool, timeout, errorLogger)) {
            awaitBegun(deadline);
        }
        dropped = true;
        tasks.forEach(this::drop);
    }

    /** The pool of a container goes on working: there is time left if it could not be shut down. */
    private void awaitBegun(long deadline) {
        try {
            while (!tasks.isEmpty() && deadline - System.nanoTime() > 0) {
                Thread.sleep(TICK_MILLIS);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }

    private void drop(Entry entry) {
        Task task = entry.get();
        if (entry.take()) {
            try {
                if (task != null) {
                    task.drop();
                } else {
                    entry.lost.run();
                }
            } catch (Throwable e) {
                Loggers.complain("a task that the :worker-pool has not begun", null, e);
            }
        }
    }
}
