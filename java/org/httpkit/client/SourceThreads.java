package org.httpkit.client;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.VirtualThreads;

import java.util.Queue;
import java.util.concurrent.Executor;
import java.util.concurrent.ThreadPoolExecutor;

/** Daemon threads that read the sources of {@link Upload}s: as many as needed, up to a limit. */
final class SourceThreads implements Executor {
    private static final int FILES = 16;
    private static final int STREAMS = 256;

    /** Files block no longer than a disk does, so a few threads are enough for all. */
    private static final SourceThreads OF_FILES = upTo(FILES, "http-kit-client-file-");

    /** An InputStream holds its thread until it has data; those beyond the limit are queued. */
    private static final SourceThreads OF_STREAMS =
            VirtualThreads.available()
                    ? new SourceThreads(VirtualThreads.newExecutor(), null)
                    : upTo(STREAMS, "http-kit-client-stream-");

    private final Executor threads;

    /** Tasks queued for a thread; null if each has its own. */
    private final Queue<Runnable> waiting;

    private SourceThreads(Executor threads, Queue<Runnable> waiting) {
        this.threads = threads;
        this.waiting = waiting;
    }

    private SourceThreads(ThreadPoolExecutor pool) {
        this(pool, pool.getQueue());
    }

    private static SourceThreads upTo(int most, String prefix) {
        return new SourceThreads(Handover.pool(most, new PrefixThreadFactory(prefix)));
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
