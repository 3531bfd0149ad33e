package org.httpkit.server;

import java.util.ArrayDeque;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Threads for tasks that may block: one is started for each task that no idle one can take, up to a bound.
 * What is more waits, in order. A thread without work ends after a while.
 */
final class GrowingPool implements Executor {
    private static final int IDLE_SECONDS = 5;
    /** When not even one thread could be started. */
    private static final int RETRY_MILLIS = 100;

    private final int max;
    private final ThreadFactory factory;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition work = lock.newCondition();
    private final ArrayDeque<Runnable> waiting = new ArrayDeque<>();
    private int threads;
    private int idle;

    GrowingPool(int max, ThreadFactory factory) {
        this.max = max;
        this.factory = factory;
    }

    /** Never blocks. Without memory for a thread, the task waits for the next one that can be started. */
    @Override
    public void execute(Runnable task) {
        lock.lock();
        try {
            waiting.add(task);
            summon();
        } finally {
            lock.unlock();
        }
    }

    /** @return whether tasks wait for a thread */
    boolean isCrowded() {
        lock.lock();
        try {
            return waiting.size() > idle;
        } finally {
            lock.unlock();
        }
    }

    private void summon() {
        if (idle >= waiting.size()) {
            work.signal();
        } else if (threads < max) {
            startThread();
        }
    }

    private void startThread() {
        threads++;
        try {
            factory.newThread(this::work).start();
        } catch (Throwable noMemory) {
            threads--;
            if (threads == 0) {
                ServerTimer.after(RETRY_MILLIS, this::retry);
            }
        }
    }

    private void retry() {
        lock.lock();
        try {
            if (!waiting.isEmpty()) {
                summon();
            }
        } finally {
            lock.unlock();
        }
    }

    private void work() {
        boolean threw = true;
        try {
            for (Runnable task = next(); task != null; task = next()) {
                task.run();
                // An interrupt was meant for the task that is over.
                Thread.interrupted();
            }
            threw = false;
        } finally {
            if (threw) {
                leave();
            }
        }
    }

    /** A task has thrown, which ends this thread. */
    private void leave() {
        lock.lock();
        try {
            threads--;
            if (!waiting.isEmpty()) {
                summon();
            }
        } finally {
            lock.unlock();
        }
    }

    /** @return null if this thread is to end */
    private Runnable next() {
        lock.lock();
        try {
            long left = TimeUnit.SECONDS.toNanos(IDLE_SECONDS);
            idle++;
            try {
                while (waiting.isEmpty() && left > 0) {
                    left = work.awaitNanos(left);
                }
            } catch (InterruptedException e) {
                left = 0; // for a task that is over; whatever waits is taken
            } finally {
                idle--;
            }
            Runnable task = waiting.poll();
            if (task == null) {
                threads--;
            }
            return task;
        } finally {
            lock.unlock();
        }
    }
}
