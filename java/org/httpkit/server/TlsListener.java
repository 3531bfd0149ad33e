package org.httpkit.server;

import org.httpkit.jni.Native;

import java.io.IOException;
import java.net.SocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.BasicFileAttributes;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A server's TLS port, if it has one. From start to stop, a thread looks whether the files of its
 * certificates and keys have changed, and reads them again if so.
 */
public final class TlsListener {
    private final HttpServer server;
    private final CountDownLatch stopped = new CountDownLatch(1);
    private ListenAddress where;
    private TlsMaterial first;

    /** What the files looked like before they were last read with success. */
    private List<Object> seen;

    /** What they looked like when reading them last failed: that is logged once. */
    private List<Object> failed;

    /** Null until the material was read. */
    private volatile TlsOptions options;

    private volatile boolean open;

    /** No lock guards it: a reload may wait for a file system. */
    private volatile int port = -1;

    TlsListener(HttpServer server) {
        this.server = server;
    }

    /**
     * Opens the port; call it before {@link HttpServer#start}.
     *
     * @return the bound port, -1 for a Unix domain socket
     * @throws IOException if a file cannot be read, a password is wrong, or the address cannot be
     *     had
     * @throws IllegalArgumentException if the certificates or keys cannot be used
     * @throws IllegalStateException if the server was started, or has a TLS port
     */
    public synchronized int listen(SocketAddress address, TlsOptions options) throws IOException {
        if (open || server.wasStarted()) {
            throw new IllegalStateException("a server opens one TLS port, before it is started");
        }
        read(ListenAddress.of(address), options);
        bind();
        return port;
    }

    /** Reads and checks the material, before anything is bound. */
    synchronized void read(ListenAddress where, TlsOptions options) throws IOException {
        if (options == null) {
            throw new IllegalArgumentException("the TLS options are null");
        }
        this.where = where;
        this.options = options;
        this.seen = look();
        this.first = options.read();
        first.give(0);
    }

    synchronized void bind() throws IOException {
        first.give(server.handle);
        this.port = Native.serverListenTls(server.handle, where.kind, where.bytes, where.port);
        this.open = true;
        warn(first);
        first = null;
    }

    private void warn(TlsMaterial material) {
        for (String warning : material.warnings()) {
            server.log.warning(warning, null);
        }
    }

    /** Whether the server has a TLS port. */
    public boolean isOpen() {
        return open;
    }

    /**
     * @return the bound port, even after a stop; -1 for a Unix domain socket, or if there is none
     */
    public int port() {
        return port;
    }

    /** Starts watching the files, if there are any. */
    void start() {
        if (open && options.scanSeconds() > 0 && !options.files().isEmpty()) {
            Thread watcher = new Thread(this::scan, "http-kit-server-tls");
            watcher.setDaemon(true);
            watcher.start();
        }
    }

    /** Stops watching; does not wait for a file system. */
    void stop() {
        stopped.countDown();
    }

    private void scan() {
        try {
            while (!stopped.await(options.scanSeconds(), TimeUnit.SECONDS)) {
                reloadOrLog();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt(); // by foreign code: the thread is to end
        }
    }

    /**
     * Tries again at each look until it works: the cause may pass, and leave no trace in a file.
     */
    private void reloadOrLog() {
        AtomicReference<TlsMaterial> loaded = new AtomicReference<>();
        Throwable failure = reloadIfChanged(loaded);
        if (failure != null && stopped.getCount() > 0) {
            server.log.error(
                    "TLS material was not reloaded, the old stays in use: " + failure.getMessage(),
                    failure);
        }
        if (loaded.get() != null) {
            tell(loaded.get());
        }
    }

    /**
     * @return why it failed, unless that is known already; null if it did not
     */
    private synchronized Throwable reloadIfChanged(AtomicReference<TlsMaterial> loaded) {
        List<Object> now = null;
        try {
            now = look();
            if (now.equals(seen)) {
                failed = null; // what failed has been taken back
            } else {
                loaded.set(load(now));
            }
            return null;
        } catch (Throwable e) {
            boolean fresh = now == null || !now.equals(failed);
            failed = now;
            return fresh ? e : null;
        }
    }

    /**
     * Reads certificates, keys and authorities again, for connections from now on. If that fails,
     * nothing changes.
     *
     * @return the server's certificates, without those of their issuers
     * @throws IllegalStateException without a TLS port, or after a stop
     */
    public List<X509Certificate> reload() throws IOException {
        TlsMaterial material = loadNow();
        tell(material);
        return material.leaves();
    }

    private synchronized TlsMaterial loadNow() throws IOException {
        requireOpen();
        return load(look());
    }

    private void requireOpen() {
        if (!open || stopped.getCount() == 0) {
            throw new IllegalStateException(
                    open ? "the server is stopped" : "the server has no TLS port");
        }
    }

    /**
     * @param now from before reading: what changes meanwhile is a change for the next look
     */
    private TlsMaterial load(List<Object> now) throws IOException {
        requireOpen();
        TlsMaterial material = options.read();
        material.give(server.handle);
        seen = now;
        failed = null;
        return material;
    }

    /** Without the lock: a user's logger may block, or reload. */
    private void tell(TlsMaterial loaded) {
        server.log.event(server.log.events.serverTlsReload);
        warn(loaded);
    }

    /** Distinguishes a file from its successor; follows links, by which many are replaced. */
    private List<Object> look() {
        List<Object> looks = new ArrayList<>();
        for (Path file : options.files()) {
            try {
                Path real = file.toRealPath();
                BasicFileAttributes now = Files.readAttributes(real, BasicFileAttributes.class);
                looks.add(real);
                looks.add(now.size());
                looks.add(now.lastModifiedTime());
                looks.add(String.valueOf(now.fileKey()));
            } catch (IOException | RuntimeException e) {
                looks.add(e.getClass());
            }
        }
        return looks;
    }
}
