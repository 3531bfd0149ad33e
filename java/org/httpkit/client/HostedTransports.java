package org.httpkit.client;

import org.httpkit.jni.ClientUpcalls;

import java.io.IOException;
import java.net.SocketAddress;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The channels that Java carries for the core when a user's channel factory or TLS engine is
 * involved: one selector thread per client, started with the first channel.
 *
 * <p>The core sees plain bytes, so pool, parser, limits and timers are the same as for its own
 * connections. Channel factories and TLS tasks run on background threads.
 *
 * <p>An exception costs only its transport. If the selector itself fails, all transports fail with
 * it, and the next one starts a new selector.
 */
final class HostedTransports {
    private static final int REMEMBERED_FAILURES = 256;
    private static final long PAUSE = TimeUnit.MILLISECONDS.toNanos(10);

    private final HttpClient client;
    private final Queue<Job> jobs = new ConcurrentLinkedQueue<>();
    private final ReentrantLock starting = new ReentrantLock();

    /**
     * Failures of transports that the core has closed but whose calls it has not failed yet; loop
     * thread only.
     */
    private final Map<Long, Throwable> failures =
            new LinkedHashMap<>() {
                private static final long serialVersionUID = 1;

                @Override
                protected boolean removeEldestEntry(Map.Entry<Long, Throwable> eldest) {
                    return size() > REMEMBERED_FAILURES;
                }
            };

    private final Set<HostedTransport> open = ConcurrentHashMap.newKeySet();

    /** Null without a thread. */
    private volatile Selector selector;

    private volatile boolean stopped;

    interface Task {
        void run() throws Exception;
    }

    private static final class Job {
        final HostedTransport transport;
        final Task task;

        Job(HostedTransport transport, Task task) {
            this.transport = transport;
            this.task = task;
        }
    }

    HostedTransports(HttpClient client) {
        this.client = client;
    }

    HttpClient client() {
        return client;
    }

    /** On the loop: connects a channel to the first address that accepts. */
    void open(long id, SocketAddress[] addresses, boolean tlsFromTheStart) {
        HostedTransport transport = new HostedTransport(this, id, addresses, tlsFromTheStart);
        ClientUpcalls.registerTransport(id, transport);
        open.add(transport);
        BackgroundThreads.execute(transport::connectNext);
    }

    /** On the loop: the transport is closed. */
    void closed(HostedTransport transport, long id, Throwable failure) {
        open.remove(transport);
        wakeup(selector);
        if (failure != null) {
            failures.put(id, failure);
        }
    }

    /** On the loop: why a transport broke; null if it did not break by itself. */
    Throwable failure(long id) {
        return failures.remove(id);
    }

    /**
     * Runs the task on the selector's thread; the transport fails if that is impossible, or if the
     * task throws.
     */
    void execute(HostedTransport transport, Task task) {
        try {
            jobs.add(new Job(transport, task));
            wakeup(started());
        } catch (Throwable t) {
            transport.fail(t);
        }
    }

    private static void wakeup(Selector current) {
        if (current != null) {
            current.wakeup();
        }
    }

    private Selector started() throws IOException {
        Selector current = selector;
        if (current != null || stopped) {
            return current;
        }
        starting.lock();
        try {
            if (selector == null) {
                selector = start();
            }
            return selector;
        } finally {
            starting.unlock();
        }
    }

    private Selector start() throws IOException {
        Selector made = Selector.open();
        try {
            Thread thread = new Thread(() -> run(made), "client-transports");
            thread.setDaemon(true);
            thread.start();
        } catch (Throwable t) {
            made.close();
            throw t;
        }
        return made;
    }

    /** Called on its thread only. */
    Selector selector() {
        return selector;
    }

    private void run(Selector own) {
        // Not before `selector` is set: jobs register with it.
        starting.lock();
        starting.unlock();
        try {
            while (!stopped) {
                own.select();
                // A selector does not block on an interrupted thread; interrupts mean nothing here.
                Thread.interrupted();
                runJobs();
                serveReady(own);
            }
        } catch (Throwable t) {
            selector = null;
            client.impossible(t);
            failAll(t);
        } finally {
            close(own);
        }
    }

    private void runJobs() {
        for (Job job = jobs.poll(); job != null; job = jobs.poll()) {
            try {
                job.task.run();
            } catch (Throwable t) {
                job.transport.fail(t);
            }
        }
    }

    private void serveReady(Selector own) {
        for (Iterator<SelectionKey> ready = own.selectedKeys().iterator(); ready.hasNext(); ) {
            HostedTransport transport = (HostedTransport) ready.next().attachment();
            ready.remove();
            try {
                transport.ready();
            } catch (Throwable t) {
                transport.fail(t);
            }
        }
    }

    /** Transports that arrive meanwhile either have a new selector or are failed too. */
    private void failAll(Throwable why) {
        for (boolean all = false; !all && !stopped; ) {
            try {
                for (HostedTransport transport : open) {
                    transport.fail(why);
                }
                all = true;
            } catch (OutOfMemoryError e) {
                LockSupport.parkNanos(PAUSE);
            }
        }
    }

    private void close(Selector own) {
        try {
            own.close();
        } catch (Throwable t) {
            client.impossible(t);
        }
    }

    /** The loop has ended, and every transport with it. */
    void stop() {
        stopped = true;
        wakeup(selector);
    }
}
