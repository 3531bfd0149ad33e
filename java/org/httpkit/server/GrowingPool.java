package org.httpkit.server;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadFactory;

/**
 * Threads for tasks that may block: one is started for each task that no idle one can take, up to a
 * limit. Further tasks are queued, in order. A thread without work ends after a while.
 *
 * <p>Not a {@code ThreadPoolExecutor}, which does not survive a full heap: waiting on its queue
 * takes memory, and it may lose a thread that it had no memory to wake. Here only {@link #execute}
 * takes memory, before it changes anything; and a task for which no thread can be started stays
 * queued.
 */
final class GrowingPool implements Executor {
    private static final int IDLE_MILLIS = 5000;

    /** Pause when not even one thread could be started. */
    private static final int RETRY_MILLIS = 100;

    private final int max;
    private final int maxWaiting;
    private final ThreadFactory factory;

    /** Made here: where no thread can be started, there may be no memory for it. */
    private final Runnable retry = this::retry;

    /** Guarded by this, like all fields below. */
    private Waiting first;

    private Waiting last;
    private int waiting;

    /** All that were started and have not ended. */
    private final List<Thread> threads = new ArrayList<>();

    private int idle;
    private boolean ending;

    private static final class Waiting {
        final Runnable task;
        Waiting next;

        Waiting(Runnable task) {
            this.task = task;
        }
    }

    GrowingPool(int max, ThreadFactory factory) {
        this(max, Integer.MAX_VALUE, factory);
    }

    /**
     * @param maxWaiting most queued tasks; more are dropped
     */
    GrowingPool(int max, int maxWaiting, ThreadFactory factory) {
        this.max = max;
        this.maxWaiting = maxWaiting;
        this.factory = factory;
    }

    /** Loads the classes that {@link #execute} needs. */
    static void load() {
        new Waiting(null);
    }

    /** Daemon threads of this name. */
    static GrowingPool named(String name, int max, int maxWaiting) {
        return new GrowingPool(
                max,
                maxWaiting,
                task -> {
                    Thread thread = new Thread(task, name);
                    thread.setDaemon(true);
                    return thread;
                });
    }

    /** Never blocks. @throws OutOfMemoryError if there is no memory to queue {@code task} */
    @Override
    public void execute(Runnable task) {
        run(task);
    }

    /** As {@link #execute}. @return false if there is no thread now to take it */
    synchronized boolean run(Runnable task) {
        Waiting added = new Waiting(task);
        if (waiting < maxWaiting) {
            append(added);
            summon();
        }
        return !threads.isEmpty();
    }

    /**
     * As {@link #execute}, for tasks that other threads wait for.
     *
     * @throws OutOfMemoryError also if there is no thread, and none can be started: then it is not
     *     run
     */
    synchronized void runOrThrow(Runnable task) {
        if (run(task)) {
            return;
        }
        Waiting before = null;
        for (Waiting at = first; at != null; before = at, at = at.next) {
            if (at.task == task) {
                unlink(before, at);
                break;
            }
        }
        throw new OutOfMemoryError("no thread can be started");
    }

    /**
     * @return whether tasks are queued for a thread
     */
    synchronized boolean isCrowded() {
        return waiting > idle;
    }

    private void append(Waiting added) {
        if (last == null) {
            first = added;
        } else {
            last.next = added;
        }
        last = added;
        waiting++;
    }

    private void unlink(Waiting before, Waiting gone) {
        if (before == null) {
            first = gone.next;
        } else {
            before.next = gone.next;
        }
        if (last == gone) {
            last = before;
        }
        waiting--;
    }

    private void summon() {
        if (idle >= waiting) {
            notify();
        } else if (threads.size() < max) {
            startThread();
        }
    }

    private void startThread() {
        Thread thread = null;
        try {
            thread = factory.newThread(this::work);
            threads.add(thread);
            thread.start();
        } catch (Throwable noMemory) {
            threads.remove(thread);
            if (threads.isEmpty()) {
                ServerTimer.after(RETRY_MILLIS, retry);
            }
        }
    }

    private synchronized void retry() {
        if (first != null && threads.isEmpty() && !ending) {
            summon();
        }
    }

    /**
     * No more tasks will come: threads end once nothing is queued. No further one is started if
     * there are none, so see {@link #poll}.
     *
     * @return all that have not ended
     */
    synchronized List<Thread> end() {
        ending = true;
        notifyAll();
        return new ArrayList<>(threads);
    }

    /**
     * Takes back the next queued task.
     *
     * @return null if there is none
     */
    synchronized Runnable poll() {
        if (first == null) {
            return null;
        }
        Runnable task = first.task;
        unlink(null, first);
        return task;
    }

    private void work() {
        for (Runnable task = next(); task != null; task = next()) {
            try {
                task.run();
            } catch (Throwable e) {
                Loggers.complain("what a task has thrown", null, e);
            }
            clearInterrupt(); // waiting would throw, which takes memory
        }
    }

    /** An interrupt was meant for the task before, which has ended. */
    private static void clearInterrupt() {
        Thread.interrupted();
    }

    /**
     * @return null if this thread should end
     */
    private synchronized Runnable next() {
        long deadline = System.nanoTime() + IDLE_MILLIS * 1_000_000L;
        idle++;
        for (long left = IDLE_MILLIS; first == null && left > 0 && !ending; ) {
            try {
                wait(left);
            } catch (InterruptedException e) {
                // It was meant for the task, which has ended.
            }
            left = (deadline - System.nanoTime()) / 1_000_000;
        }
        idle--;
        if (first == null) {
            threads.remove(Thread.currentThread());
        }
        clearInterrupt(); // under the lock: a later one is meant for the task returned here
        return poll();
    }
}
