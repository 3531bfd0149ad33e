package org.httpkit.client;

import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.LoadAhead;
import org.httpkit.jni.NativeClient;
import org.httpkit.jni.NativeLibrary;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.StandardSocketOptions;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.channels.SocketChannel;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;

import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;

/**
 * An HTTP client: a pool of connections and the daemon thread that drives them.
 *
 * <p>Requests are checked, converted and addressed on the caller's thread; the native core handles
 * connections, parsing, decoding and timers; user code that may block runs on worker pools.
 */
public class HttpClient implements Runnable {
    /**
     * Decides where a request is connected to; called once per request, on the caller's thread, or,
     * if the request has a deadline, on one that may outlive it.
     */
    public interface AddressFinder {
        /** Resolves the host of the URI. */
        AddressFinder DEFAULT = HttpUtils::getServerAddr;

        /**
         * @param uri the whole URI of the request, or of the proxy where there is one
         */
        SocketAddress findAddress(URI uri) throws UnknownHostException;
    }

    /** Opens the channel of a connection; called for each attempt to connect, never on the loop. */
    public interface ChannelFactory {
        /** A TCP channel with keep-alive probes and without Nagle's delay. */
        ChannelFactory DEFAULT =
                address -> {
                    SocketChannel channel = SocketChannel.open();
                    channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true);
                    channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
                    return channel;
                };

        /**
         * @param address the address finder's result, which may be unresolved
         * @return an open channel; the client connects it unless it is already connected
         */
        SocketChannel createChannel(SocketAddress address) throws IOException;
    }

    /** Prepares the TLS engine of an https request; called for each, on the caller's thread. */
    public interface SSLEngineURIConfigurer {
        /** Leaves the engine unchanged: the host name is not checked. */
        SSLEngineURIConfigurer NOP = (engine, uri) -> {};

        /**
         * @param uri of the TLS peer: the target, or an https proxy
         */
        void configure(SSLEngine engine, URI uri);
    }

    private static final long PAUSE = TimeUnit.MILLISECONDS.toNanos(50);
    private static final AtomicInteger LOOPS = new AtomicInteger();

    private final Addresses addresses;
    private final ChannelFactory channelFactory;
    private final SSLEngineURIConfigurer sslConfigurer;
    private final ContextLogger<String, Throwable> errorLogger;
    private final EventLogger<String> eventLogger;
    private final EventNames eventNames;
    private final SocketAddress bindAddress;

    private final long handle;
    private final HostedTransports hosted;
    private final Thread loop;
    private final ReentrantLock loopLock = new ReentrantLock();
    private volatile boolean loopStarted;
    private final ReentrantLock nativeTlsLock = new ReentrantLock();
    private volatile Boolean nativeTls;

    /** Without limits, and without checking host names. */
    public HttpClient() throws IOException {
        this(-1);
    }

    /**
     * @param maxConnections to all hosts together, idle ones included; -1 for no limit
     */
    public HttpClient(long maxConnections) throws IOException {
        this(
                maxConnections,
                AddressFinder.DEFAULT,
                SSLEngineURIConfigurer.NOP,
                ContextLogger.ERROR_PRINTER,
                EventLogger.NOP,
                EventNames.DEFAULT);
    }

    public HttpClient(
            long maxConnections,
            AddressFinder addressFinder,
            SSLEngineURIConfigurer sslConfigurer,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames)
            throws IOException {
        this(
                maxConnections,
                addressFinder,
                sslConfigurer,
                errorLogger,
                eventLogger,
                eventNames,
                null);
    }

    /**
     * @param bindAddress local address of all connections; null for any
     */
    public HttpClient(
            long maxConnections,
            AddressFinder addressFinder,
            SSLEngineURIConfigurer sslConfigurer,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames,
            SocketAddress bindAddress)
            throws IOException {
        this(
                maxConnections,
                addressFinder,
                ChannelFactory.DEFAULT,
                sslConfigurer,
                errorLogger,
                eventLogger,
                eventNames,
                bindAddress);
    }

    public HttpClient(
            long maxConnections,
            AddressFinder addressFinder,
            ChannelFactory channelFactory,
            SSLEngineURIConfigurer sslConfigurer,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames,
            SocketAddress bindAddress)
            throws IOException {
        this(
                maxConnections,
                addressFinder,
                channelFactory,
                sslConfigurer,
                errorLogger,
                eventLogger,
                eventNames,
                bindAddress,
                -1);
    }

    /**
     * @param maxPerHost connections to one host, idle ones included; -1 for no limit
     */
    public HttpClient(
            long maxConnections,
            AddressFinder addressFinder,
            ChannelFactory channelFactory,
            SSLEngineURIConfigurer sslConfigurer,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames,
            SocketAddress bindAddress,
            long maxPerHost)
            throws IOException {
        this.addresses = new Addresses(addressFinder, channelFactory == ChannelFactory.DEFAULT);
        this.channelFactory = channelFactory;
        this.sslConfigurer = sslConfigurer;
        this.errorLogger = errorLogger;
        this.eventLogger = eventLogger;
        this.eventNames = eventNames;
        this.bindAddress = bindAddress;
        DefaultContext.capture();
        NativeLibrary.load();
        LoadAhead.forClients();
        handle =
                NativeClient.clientOpen(
                        maxConnections,
                        maxPerHost,
                        bindAddress == null ? null : bindRecord(bindAddress));
        hosted = new HostedTransports(this);
        int number = LOOPS.incrementAndGet();
        loop = new Thread(this, number == 1 ? "client-loop" : "client-loop#" + number);
        loop.setDaemon(true);
        try {
            ensureLoop();
        } catch (OutOfMemoryError e) {
            // Not fatal: this may be the default client, which is made only once. The next request
            // tries again.
            impossible(e);
        }
    }

    private void ensureLoop() {
        if (!loopStarted) {
            loopLock.lock();
            try {
                if (!loopStarted) {
                    loop.start();
                    loopStarted = true;
                }
            } finally {
                loopLock.unlock();
            }
        }
    }

    // Other addresses are bound in Java, on channels from the channel factory.
    private static byte[] bindRecord(SocketAddress address) {
        if (address instanceof InetSocketAddress && ((InetSocketAddress) address).isUnresolved()) {
            throw new IllegalArgumentException("bind address is unresolved: " + address);
        }
        return address instanceof InetSocketAddress
                ? CallSpec.address((InetSocketAddress) address)
                : null;
    }

    /**
     * The context of https requests: the JVM's default one as it was when the first client was
     * made.
     */
    public static SSLContext getDefaultContext() {
        return DefaultContext.get();
    }

    /** The loop; do not call it. */
    @Override
    public void run() {
        // Retries, since a loop may lack the memory to begin. After the loop has ended, run returns
        // immediately.
        for (boolean ended = false; !ended; ) {
            try {
                ClientUpcalls.enter();
                NativeClient.clientRun(handle);
                ended = true;
            } catch (Throwable t) {
                impossible(t);
                LockSupport.parkNanos(PAUSE);
            }
        }
        ClientUpcalls.leave();
        hosted.stop();
    }

    /**
     * Sends a request; never throws: errors go to the listener.
     *
     * <p>{@code request} calls it for each hop. An override may pass the listener on, even later or
     * on another thread. If it passes on another listener in its place, cancelling the result does
     * not reach the request.
     *
     * @param engine for https requests, null for one from {@link #getDefaultContext}; it serves one
     *     connection
     */
    public void exec(String url, RequestConfig config, SSLEngine engine, IRespListener listener) {
        Call call = Call.of(this, listener, config);
        try {
            start(call, url, config, engine);
        } catch (Throwable t) {
            call.refuse(t);
        }
    }

    private void start(Call call, String url, RequestConfig config, SSLEngine engine)
            throws Throwable {
        Route route;
        try {
            ensureLoop();
            route = Route.of(url, config);
        } catch (Throwable t) {
            RequestBody.abandon(config.body, t);
            throw t;
        }
        RequestBody body = RequestBody.of(config);
        boolean accepted = false;
        try {
            RequestHead head = RequestHead.of(route, config, body);
            TlsChoice tls = TlsChoice.of(this, route, config, engine);
            SocketAddress[] addresses = this.addresses.of(route.endpoint(), config);
            CallSpec spec = CallSpec.of(call, route, config, head, body, tls, addresses);
            accepted = call.start(spec, body, tls, addresses);
        } finally {
            if (!accepted && body != null) {
                body.close();
            }
        }
        if (!accepted) {
            throw new IOException("HTTP client is stopped");
        }
    }

    /**
     * Fails all requests, closes all connections and waits for the loop to end. Later requests
     * fail; a second stop does nothing.
     */
    public void stop() throws IOException {
        NativeClient.clientStop(handle);
        if (!loopStarted) {
            // Do what the loop would do; it ends immediately.
            run();
        } else if (!isOnLoop()) {
            try {
                loop.join();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /**
     * Counters, at {@code Abi.STAT_*}: open connections, idle ones, requests that are not queued,
     * queued ones, total connections, total requests, attempts on reused connections, retries,
     * connections with native TLS, connections carried by Java, bytes buffered, connection attempts
     * in progress. All 0 after stop.
     */
    public long[] stats() {
        long[] out = new long[Abi.CLIENT_STATS];
        NativeClient.clientStats(handle, out);
        // The core counts those in the queue, too; the two numbers may be of different moments.
        out[Abi.STAT_ACTIVE] = Math.max(0, out[Abi.STAT_ACTIVE] - out[Abi.STAT_QUEUED]);
        return out;
    }

    /**
     * Passes the JVM's trust anchors and key to the core, once, before the first call that needs
     * them.
     *
     * @return false when only the JDK's TLS can work with them
     */
    boolean useNativeTls() {
        if (nativeTls == null) {
            nativeTlsLock.lock();
            try {
                if (nativeTls == null) {
                    nativeTls = TlsMaterial.get() != null && takesMaterial();
                }
            } finally {
                nativeTlsLock.unlock();
            }
        }
        return nativeTls;
    }

    // Keys come in more forms than the core reads; the JDK reads its own.
    private boolean takesMaterial() {
        try {
            NativeClient.clientTls(handle, TlsMaterial.get());
            return true;
        } catch (IllegalArgumentException e) {
            return false;
        }
    }

    long handle() {
        return handle;
    }

    boolean isOnLoop() {
        return Thread.currentThread() == loop;
    }

    HostedTransports hosted() {
        return hosted;
    }

    ChannelFactory channelFactory() {
        return channelFactory;
    }

    SSLEngineURIConfigurer sslConfigurer() {
        return sslConfigurer;
    }

    SocketAddress bindAddress() {
        return bindAddress;
    }

    /** Reports an error that is not the peer's: ours, or a filter's or listener's. Never throws. */
    void impossible(Throwable t) {
        logError("should not happen", t);
        try {
            eventLogger.log(eventNames.clientImpossible);
        } catch (Throwable logger) {
            loggerFailed(logger);
        }
    }

    /** Logs an exception of user code with this client's error logger. Never throws. */
    public void logError(String message, Throwable t) {
        try {
            errorLogger.log(message, t);
        } catch (Throwable logger) {
            loggerFailed(logger);
        }
    }

    // Never throws: the request concerned must still be told its end.
    private static void loggerFailed(Throwable t) {
        try {
            HttpUtils.printError("a logger of this client failed", t);
        } catch (Throwable e) {
            // There is no memory for a line: nothing can be reported.
        }
    }

    @Override
    public String toString() {
        long[] n = stats();
        String counts =
                ", connections "
                        + n[Abi.STAT_OPEN]
                        + " (idle "
                        + n[Abi.STAT_IDLE]
                        + "), active "
                        + n[Abi.STAT_ACTIVE]
                        + ", queued "
                        + n[Abi.STAT_QUEUED];
        return getClass().getName() + "[" + (loop.isAlive() ? "running" + counts : "stopped") + "]";
    }
}
