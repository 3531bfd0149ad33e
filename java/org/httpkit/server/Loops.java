package org.httpkit.server;

import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;

/** The threads {@code server-loop}: daemons if the thread that made the server is one. */
final class Loops {
    private final Thread[] threads;

    /**
     * @param loop what each thread runs; the argument is true for the first
     */
    Loops(int count, Consumer<Boolean> loop) {
        threads = new Thread[count];
        for (int i = 0; i < count; i++) {
            boolean first = i == 0;
            threads[i] =
                    new Thread(
                            () -> loop.accept(first), first ? "server-loop" : "server-loop-" + i);
        }
    }

    void start() {
        for (Thread thread : threads) {
            thread.start();
        }
    }

    /** Whether this thread is a loop: there, what a peer has yet to do would never happen. */
    boolean isOnLoop() {
        Thread current = Thread.currentThread();
        for (Thread thread : threads) {
            if (thread == current) {
                return true;
            }
        }
        return false;
    }

    boolean isAlive() {
        return threads[0].isAlive();
    }

    void join() throws InterruptedException {
        for (Thread thread : threads) {
            thread.join();
        }
    }

    /**
     * Waits for the loops, or until {@code deadline}.
     *
     * @return false if this thread is one: it failed, and is about to end
     */
    boolean awaitEnd(long deadline) throws InterruptedException {
        for (Thread thread : threads) {
            if (thread == Thread.currentThread()) {
                return false;
            }
            TimeUnit.NANOSECONDS.timedJoin(thread, deadline - System.nanoTime());
        }
        return true;
    }

    /** Waits for all but the calling thread, even if that is interrupted. */
    void awaitOthers() {
        boolean interrupted = false;
        for (Thread thread : threads) {
            while (thread != Thread.currentThread() && thread.isAlive()) {
                try {
                    thread.join();
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }
}
