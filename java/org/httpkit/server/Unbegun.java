package org.httpkit.server;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;

/**
 * What a pool was given by one server and has not begun: a pool that is shut down drops that, and
 * need not say what it was. Work of other servers with the same pool is not known here.
 */
final class Unbegun {
    /** Tasks between two looks for those that the pool has dropped without being shut down. */
    private static final int LOOK_AFTER = 1024;

    /** While a look finds more tasks than this, none is added: the pool may be dropping them. */
    private static final int MAX_KEPT = 20480;

    /** Begun by the pool, or dropped by {@link #dropAll}: once, by whichever comes first. */
    abstract static class Task extends AtomicBoolean implements Runnable {
        private static final long serialVersionUID = 1;

        private transient Unbegun all;

        abstract void perform();

        /** The pool is shut down: does instead what peers and users wait for. */
        abstract void drop();

        /** Whether nobody is waiting for it any more: then it is forgotten. */
        abstract boolean isOver();

        @Override
        public final void run() {
            if (all.take(this)) {
                perform();
            }
        }

        /** For the exception of a pool that refuses it. */
        @Override
        public String toString() {
            return "work of the server";
        }
    }

    private final ExecutorService pool;
    private final Set<Task> tasks = ConcurrentHashMap.newKeySet();
    private volatile boolean dropped;

    /**
     * Tasks until the next look. Threads may overwrite each other's count, which only delays it.
     */
    private int untilLook = LOOK_AFTER;

    private volatile boolean full;

    Unbegun(ExecutorService pool) {
        this.pool = pool;
    }

    /** Gives a task to the pool. Throws what the pool does, unless the task has begun. */
    void submit(Task task) {
        task.all = this;
        try {
            if (!full) {
                tasks.add(task);
            }
            pool.submit(task);
        } catch (Throwable e) {
            if (take(task)) {
                throw e;
            }
        }
        if (dropped) {
            drop(task);
        } else if (--untilLook < 0) {
            look();
        }
    }

    private void look() {
        tasks.removeIf(Task::isOver);
        int kept = tasks.size();
        full = kept > MAX_KEPT;
        untilLook = LOOK_AFTER + 2 * kept;
    }

    void submit(Runnable perform, Runnable drop) {
        submit(perform, drop, () -> false);
    }

    void submit(Runnable perform, Runnable drop, BooleanSupplier over) {
        submit(
                new Task() {
                    @Override
                    void perform() {
                        perform.run();
                    }

                    @Override
                    void drop() {
                        drop.run();
                    }

                    @Override
                    boolean isOver() {
                        return over.getAsBoolean();
                    }
                });
    }

    private boolean take(Task task) {
        tasks.remove(task);
        return task.compareAndSet(false, true);
    }

    /** Drops all, now that the pool is shut down, and what is submitted from now on. */
    void dropAll() {
        dropped = true;
        tasks.forEach(this::drop);
    }

    private void drop(Task task) {
        if (take(task)) {
            try {
                task.drop();
            } catch (Throwable e) {
                Loggers.complain("a task that the :worker-pool has not begun", null, e);
            }
        }
    }
}
