package org.httpkit.client;

import org.httpkit.PrefixThreadFactory;

import java.util.ArrayDeque;
import java.util.HashMap;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.FutureTask;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Name lookups on daemon threads, for callers that wait no longer than their deadline.
 *
 * <p>A resolver that hangs must not cost a thread per request, nor hold up other names: those of
 * one host use a few threads, and queue for them.
 */
final class Lookups {
    private static final int MOST = 256;
    private static final ThreadFactory THREADS = new PrefixThreadFactory("http-kit-client-dns-");

    /** Per host: the JVM too looks a name up once at a time, and remembers what it finds. */
    private static final int JVM = 1;

    /** Per host: a user's finder is called for each request. */
    private static final int USER = 16;

    /** Those of the JVM's resolver, for all clients. */
    static final Lookups SHARED = new Lookups(JVM);

    private final int mostPerHost;
    private final ThreadPoolExecutor threads = Handover.pool(MOST, THREADS);
    private final ReentrantLock lock = new ReentrantLock();

    /** Those with a lookup; guarded by the lock. */
    private final Map<String, Host> hosts = new HashMap<>();

    private Lookups(int mostPerHost) {
        this.mostPerHost = mostPerHost;
    }

    /** Those of a user's finder, which may block for as long as it likes. */
    static Lookups ofUser() {
        return new Lookups(USER);
    }

    private static final class Host {
        final Queue<FutureTask<?>> waiting = new ArrayDeque<>();
        int running;
    }

    /** A caller that no longer waits must {@link #abandon} it. */
    void start(String name, FutureTask<?> lookup) {
        lock.lock();
        try {
            Host host = hosts.computeIfAbsent(name, n -> new Host());
            if (host.running < mostPerHost) {
                run(name, host, lookup);
            } else {
                host.waiting.add(lookup);
            }
        } finally {
            lock.unlock();
        }
    }

    private void run(String name, Host host, FutureTask<?> lookup) {
        boolean started = false;
        try {
            // Does not block: see Handover.
            threads.execute(() -> runAll(name, host, lookup));
            host.running++;
            started = true;
        } finally {
            // There was no memory for a thread. None waits then: they do for a running one.
            if (!started && host.running == 0) {
                hosts.remove(name);
            }
        }
    }

    private void runAll(String name, Host host, FutureTask<?> first) {
        for (FutureTask<?> lookup = first; lookup != null; lookup = next(name, host)) {
            lookup.run();
            // An abandoned one may have been interrupted; the next one is not.
            Thread.interrupted();
        }
    }

    private FutureTask<?> next(String name, Host host) {
        lock.lock();
        try {
            FutureTask<?> next = host.waiting.poll();
            if (next == null && --host.running == 0) {
                hosts.remove(name);
            }
            return next;
        } finally {
            lock.unlock();
        }
    }

    /** Interrupts it if it runs. Does nothing once it has ended. */
    void abandon(String name, FutureTask<?> lookup) {
        if (lookup.cancel(true)) {
            lock.lock();
            try {
                Host host = hosts.get(name);
                if (host != null) {
                    host.waiting.remove(lookup);
                }
            } finally {
                lock.unlock();
            }
        }
    }
}
