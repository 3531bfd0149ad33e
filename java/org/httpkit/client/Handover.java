package org.httpkit.client;

import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Refuses a task if no thread waits for one: then a ThreadPoolExecutor starts a thread. */
final class Handover extends LinkedTransferQueue<Runnable> {
    private static final long serialVersionUID = 1;

    private Handover() {}

    /** As many threads as needed, up to a limit; further tasks are queued. */
    static ThreadPoolExecutor pool(int most, ThreadFactory threads) {
        Handover waiting = new Handover();
        return new ThreadPoolExecutor(
                0,
                most,
                10,
                TimeUnit.SECONDS,
                waiting,
                threads,
                (task, pool) -> waiting.keep(task));
    }

    @Override
    public boolean offer(Runnable task) {
        return tryTransfer(task);
    }

    private void keep(Runnable task) {
        super.offer(task);
    }
}
