package org.httpkit.client;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;

import java.util.concurrent.Executor;
import java.util.concurrent.LinkedTransferQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/** Daemon threads that read the sources of {@link Upload}s: as many as needed, up to a limit. */
final class SourceThreads implements Executor {
    private static final int FILES = 16;
    private static final int STREAMS = 256;

    /** Files block no longer than a disk does, so a few threads are enough for all. */
    private static final SourceThreads OF_FILES = new SourceThreads(FILES, "http-kit-client-file-");

    /** An InputStream holds its thread until it has data; those beyond the limit are queued. */
    private static final SourceThreads OF_STREAMS =
            VirtualThreads.available()
                    ? new SourceThreads(VirtualThreads.newExecutor(), null)
                    : new SourceThreads(STREAMS, "http-kit-client-stream-");

    private final Executor threads;

    /** Tasks queued for a thread; null if each has its own. */
    private final Handover waiting;

    private SourceThreads(Executor threads, Handover waiting) {
        this.threads = threads;
        this.waiting = waiting;
    }

    private SourceThreads(int most, String prefix) {
        waiting = new Handover();
        threads =
                new ThreadPoolExecutor(
                        0,
                        most,
                        10,
                        TimeUnit.SECONDS,
                        waiting,
                        new PrefixThreadFactory(prefix),
                        (task, pool) -> waiting.keep(task));
    }

    /** Refuses a task if no thread waits for one: then a ThreadPoolExecutor starts a thread. */
    private static final class Handover extends LinkedTransferQueue<Runnable> {
        private static final long serialVersionUID = 1;

        @Override
        public boolean offer(Runnable task) {
            return tryTransfer(task);
        }

        void keep(Runnable task) {
            super.offer(task);
        }
    }

    static SourceThreads of(RequestBody body) {
        return body.mayBlock() ? OF_STREAMS : OF_FILES;
    }

    @Override
    public void execute(Runnable task) {
        threads.execute(task);
    }

    /** Whether tasks are queued for a thread. */
    boolean isCrowded() {
        return waiting != null && !waiting.isEmpty();
    }
}
