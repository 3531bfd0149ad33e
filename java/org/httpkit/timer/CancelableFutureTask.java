package org.httpkit.timer;

import clojure.lang.IFn;

import org.httpkit.HttpUtils;
import org.httpkit.PriorityQueue;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;

/** A function that a timer calls once, later, unless cancelled before. */
public class CancelableFutureTask implements Comparable<CancelableFutureTask> {
    private static final AtomicLong MADE = new AtomicLong();

    /** When the task is due by the wall clock, in ms since 1970; for people only. */
    public final long timeoutTs;

    private final int timeout;
    private final IFn function;
    private final PriorityQueue<CancelableFutureTask> queue;

    /** By {@link System#nanoTime}: the wall clock may be set. */
    private final long dueNanos;

    /** Orders tasks that are due at the same time by age. */
    private final long number = MADE.incrementAndGet();

    private final AtomicBoolean doneOrCanceled = new AtomicBoolean();

    /**
     * @param timeout ms from now; 0 or less means immediately
     * @param queue from which the task removes itself when cancelled
     */
    public CancelableFutureTask(
            int timeout, IFn function, PriorityQueue<CancelableFutureTask> queue) {
        this.timeout = timeout;
        this.function = function;
        this.queue = queue;
        this.timeoutTs = System.currentTimeMillis() + timeout;
        this.dueNanos = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(timeout);
    }

    /**
     * @return true for the call that cancelled it: neither run, running nor cancelled before
     */
    public boolean cancel() {
        boolean canceled = doneOrCanceled.compareAndSet(false, true);
        if (canceled) {
            queue.remove(this);
        }
        return canceled;
    }

    /** Calls the function, unless cancelled. Exceptions are printed, and affect no other task. */
    void runTask() {
        if (doneOrCanceled.compareAndSet(false, true)) {
            try {
                function.invoke();
            } catch (Throwable e) {
                print(e);
            }
        }
    }

    /**
     * @return ns until it is due, negative when overdue
     */
    long delayNanos() {
        return dueNanos - System.nanoTime();
    }

    private static void print(Throwable error) {
        try {
            HttpUtils.printError("timer task", error);
        } catch (Throwable unprintable) {
            // Out of memory, for example: keep the timer's thread and all other tasks alive.
        }
    }

    @Override
    public int compareTo(CancelableFutureTask other) {
        // By difference, since nanoTime may overflow.
        int byTime = Long.signum(dueNanos - other.dueNanos);
        return byTime == 0 ? Long.compare(number, other.number) : byTime;
    }

    @Override
    public String toString() {
        return "timeout="
                + timeout
                + "ms, "
                + (doneOrCanceled.get()
                        ? "done or canceled"
                        : "due in " + TimeUnit.NANOSECONDS.toMillis(delayNanos()) + "ms");
    }
}
