package org.httpkit.client;

import java.io.IOException;
import java.net.SocketAddress;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.util.Iterator;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;
import javax.net.ssl.SSLEngine;
import org.httpkit.jni.ClientUpcalls;

/**
 * The channels that Java carries for the core, where a user's channel factory or TLS engine is in
 * play: one selector thread per client, started with the first of them.
 *
 * <p>The core sees plain bytes, so pool, parser, limits and timers are the same as for its own
 * connections. Channel factories and TLS tasks run on background threads.
 */
final class HostedTransports implements Runnable {
    private static final int REMEMBERED_FAILURES = 256;

    private final HttpClient client;
    private final ConcurrentLinkedQueue<Runnable> jobs = new ConcurrentLinkedQueue<>();
    private final ReentrantLock starting = new ReentrantLock();
    /** Of transports that the core has closed but whose calls it has not failed yet; loop thread only. */
    private final Map<Long, Throwable> failures = new LinkedHashMap<>() {
        private static final long serialVersionUID = 1;

        @Override
        protected boolean removeEldestEntry(Map.Entry<Long, Throwable> eldest) {
            return size() > REMEMBERED_FAILURES;
        }
    };
    private final Map<Long, HostedTransport> open = new java.util.concurrent.ConcurrentHashMap<>();
    private volatile Selector selector;
    private volatile boolean stopped;

    HostedTransports(HttpClient client) {
        this.client = client;
    }

    HttpClient client() {
        return client;
    }

    /** On the loop: connects a channel to the first of the addresses that answers. */
    void open(long id, SocketAddress[] addresses, boolean tlsFromTheStart) {
        HostedTransport transport = new HostedTransport(this, id, addresses, tlsFromTheStart);
        open.put(id, transport);
        ClientUpcalls.registerTransport(id, transport);
        BackgroundThreads.execute(transport::connectNext);
    }

    /** On the loop: begins the handshake. */
    void startTls(long id, Supplier<SSLEngine> engine, int level) {
        HostedTransport transport = open.get(id);
        if (transport != null) {
            execute(() -> transport.startTls(engine, level));
        }
    }

    /** On the loop: the transport is gone. */
    void closed(long id, Throwable failure) {
        open.remove(id);
        if (failure != null) {
            failures.put(id, failure);
        }
        wakeup();
    }

    /** On the loop: why a transport broke; null when it did not by itself. */
    Throwable failure(long id) {
        return failures.remove(id);
    }

    /** Runs the job on the selector's thread. */
    void execute(Runnable job) {
        jobs.add(job);
        ensureStarted();
        wakeup();
    }

    private void wakeup() {
        Selector current = selector;
        if (current != null) {
            current.wakeup();
        }
    }

    private void ensureStarted() {
        if (selector != null || stopped) {
            return;
        }
        starting.lock();
        try {
            if (selector == null) {
                selector = Selector.open();
                Thread thread = new Thread(this, "client-transports");
                thread.setDaemon(true);
                thread.start();
            }
        } catch (IOException e) {
            client.impossible(e);
        } finally {
            starting.unlock();
        }
    }

    Selector selector() {
        return selector;
    }

    @Override
    public void run() {
        try (Selector own = selector) {
            while (!stopped) {
                own.select();
                runJobs();
                serveReady(own);
            }
        } catch (IOException e) {
            client.impossible(e);
        }
    }

    private void runJobs() {
        for (Runnable job = jobs.poll(); job != null; job = jobs.poll()) {
            try {
                job.run();
            } catch (RuntimeException | Error e) {
                client.impossible(e);
            }
        }
    }

    private void serveReady(Selector own) {
        for (Iterator<SelectionKey> ready = own.selectedKeys().iterator(); ready.hasNext();) {
            SelectionKey key = ready.next();
            ready.remove();
            ((HostedTransport) key.attachment()).ready();
        }
    }

    /** The loop has ended and with it every transport. */
    void stop() {
        stopped = true;
        wakeup();
    }
}
