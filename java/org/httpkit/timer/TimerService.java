package org.httpkit.timer;

import clojure.lang.IFn;

import org.httpkit.PriorityQueue;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Calls functions later, all on one thread, {@code timer-service}.
 *
 * <p>The thread starts with the first task and ends after two minutes without one; the next task
 * starts a new thread.
 */
public class TimerService implements Runnable {
    public static final TimerService SERVICE = new TimerService(120_000);

    private final PriorityQueue<CancelableFutureTask> queue = new PriorityQueue<>();
    private final long idleNanos;

    /** Makes adding a task and ending an idle thread mutually exclusive. */
    private final ReentrantLock lock = new ReentrantLock();

    private volatile Thread thread;

    /**
     * @param idleMillis how long the thread waits for another task before it ends
     */
    public TimerService(int idleMillis) {
        idleNanos = TimeUnit.MILLISECONDS.toNanos(idleMillis);
    }

    /**
     * @param timeout ms from now; 0 or less means immediately
     * @param function called without arguments; must not block, as that would delay all others
     */
    public CancelableFutureTask scheduleTask(int timeout, IFn function) {
        CancelableFutureTask task = new CancelableFutureTask(timeout, function, queue);
        lock.lock();
        try {
            startThread();
            queue.offer(task);
        } finally {
            lock.unlock();
        }
        if (queue.peek() == task) {
            LockSupport.unpark(thread);
        }
        return task;
    }

    @Override
    public String toString() {
        return "pending=" + queue.size() + ", thread started:" + (thread != null);
    }

    private void startThread() {
        if (thread == null) {
            Thread fresh = new Thread(this, "timer-service");
            fresh.start();
            thread = fresh;
        }
    }

    /**
     * Calls due functions until there have been none for a while; returns immediately if another
     * thread does so. No need to call this: the first task starts a thread for it.
     */
    @Override
    public void run() {
        lock.lock();
        try {
            if (thread != null && thread != Thread.currentThread()) {
                return;
            }
            thread = Thread.currentThread();
        } finally {
            lock.unlock();
        }
        loop();
    }

    private void loop() {
        long idleSince = System.nanoTime();
        while (true) {
            // A task that interrupts the timer must not turn its waits into a busy loop.
            Thread.interrupted();
            CancelableFutureTask head = queue.peek();
            if (head == null) {
                long left = idleNanos - (System.nanoTime() - idleSince);
                if (left <= 0 && ended()) {
                    return;
                }
                LockSupport.parkNanos(this, left);
            } else {
                runOrWait(head);
                idleSince = System.nanoTime();
            }
        }
    }

    private void runOrWait(CancelableFutureTask head) {
        long delay = head.delayNanos();
        if (delay > 0) {
            // No longer than the idle time: the task may be cancelled, and then the thread may end.
            LockSupport.parkNanos(this, Math.min(delay, idleNanos));
        } else if (queue.remove(head)) {
            head.runTask();
        }
    }

    private boolean ended() {
        lock.lock();
        try {
            boolean ends = queue.peek() == null;
            if (ends) {
                thread = null;
            }
            return ends;
        } finally {
            lock.unlock();
        }
    }
}
