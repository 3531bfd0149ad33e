package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.HttpUtils;
import org.httpkit.jni.LoadAhead;
import org.httpkit.jni.Native;
import org.httpkit.jni.NativeLibrary;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.channels.ServerSocketChannel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * A server: bound when it is made, serving from {@link #start} to {@link #stop}.
 *
 * <p>Its sockets live in the native library, in loops on the threads {@code server-loop}, which are
 * daemons if the thread that made the server is one. Handlers and callbacks run on the worker pool.
 */
public class HttpServer implements Runnable {
    /** Decides where a server listens. */
    public interface AddressFinder {
        SocketAddress findAddress() throws IOException;
    }

    /** Makes the channel whose socket options the server copies. */
    public interface ServerChannelFactory {
        ServerSocketChannel createChannel(SocketAddress address) throws IOException;
    }

    public enum Status {
        STOPPED,
        RUNNING,
        STOPPING,
        DRAINING
    }

    /** Prints {@code DATE [thread] WARN - message}. */
    public static final ContextLogger<String, Throwable> DEFAULT_WARN_LOGGER =
            (message, error) ->
                    HttpUtils.printWarning(error == null ? message : error.getMessage());

    /** Value of the Server header, or null for none. */
    public final String serverHeader;

    final long handle;
    final ServerLog log;
    final ResponseWarnings responseWarnings;
    final Channels channels = new Channels(this);
    final Writers writers = new Writers();
    final BodyReaders bodyReaders = new BodyReaders();
    final BodyTasks bodies;
    final Workers workers;
    final Loops loops;
    final RingExchanges ringHandler;

    /** Calls an embedder's handler; null if there is none. */
    final Embedded embedded;

    final ServerOptions options;
    public final Statistics statistics = new Statistics(this);
    public final Topics topics = new Topics(this);
    private final TlsListener tls = new TlsListener(this);

    /** Null if handlers are not interrupted. */
    final HandlerThreads handlerThreads;

    /** Null if there is none. */
    final AccessLog accessLog;

    private final int port;
    private final AtomicReference<Status> status = new AtomicReference<>(Status.STOPPED);
    private final AtomicReference<Draining> draining = new AtomicReference<>();
    private final CountDownLatch stopped = new CountDownLatch(1);

    /**
     * A stop that a loop's thread must finish after its loop has ended, because no other thread
     * could be started; or null.
     */
    final AtomicReference<Stopping> ending = new AtomicReference<>();

    private volatile ShutdownHook shutdownHook;

    /**
     * As the constructor with 13 arguments: Server header {@code http-kit}, errors and warnings to
     * standard error, no events.
     */
    public HttpServer(
            String ip,
            int port,
            IHandler handler,
            int maxBody,
            int maxLine,
            int maxWs,
            ProxyProtocolOption proxyProtocolOption)
            throws IOException {
        this(
                ip,
                port,
                handler,
                maxBody,
                maxLine,
                maxWs,
                proxyProtocolOption,
                ServerOptions.SERVER_HEADER,
                true,
                ContextLogger.ERROR_PRINTER,
                DEFAULT_WARN_LOGGER,
                EventLogger.NOP,
                EventNames.DEFAULT);
    }

    /**
     * Binds, for programs that embed a server with a handler of their own.
     *
     * @param ip address to bind; {@code 0.0.0.0} includes IPv6
     * @param port 0 for any free port
     * @param maxBody most bytes of a request body; more is a 413
     * @param maxLine most bytes of a request line (more is a 414) or header line (more is a 431)
     * @param maxWs most bytes of a WebSocket message; more closes the channel with 1009
     * @param serverHeader Server header of responses that the server makes itself, or null for none
     * @param legacyContentLength false: a response to HEAD keeps a Content-Length sent on its
     *     channel
     * @param errorLogger is given what a handler throws, unless a {@link RingHandler} logs it
     * @throws java.net.BindException if the address cannot be had
     */
    public HttpServer(
            String ip,
            int port,
            IHandler handler,
            int maxBody,
            int maxLine,
            int maxWs,
            ProxyProtocolOption proxyProtocolOption,
            String serverHeader,
            boolean legacyContentLength,
            ContextLogger<String, Throwable> errorLogger,
            ContextLogger<String, Throwable> warnLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames)
            throws IOException {
        this(
                () -> new InetSocketAddress(ip, port),
                null,
                handler,
                maxBody,
                maxLine,
                maxWs,
                proxyProtocolOption,
                serverHeader,
                legacyContentLength,
                errorLogger,
                warnLogger,
                eventLogger,
                eventNames);
    }

    /**
     * As the other constructor with 13 arguments.
     *
     * @param addressFinder where to listen
     * @param channelFactory makes a channel whose socket options are copied; null for the system's
     *     defaults
     */
    public HttpServer(
            AddressFinder addressFinder,
            ServerChannelFactory channelFactory,
            IHandler handler,
            int maxBody,
            int maxLine,
            int maxWs,
            ProxyProtocolOption proxyProtocolOption,
            String serverHeader,
            boolean legacyContentLength,
            ContextLogger<String, Throwable> errorLogger,
            ContextLogger<String, Throwable> warnLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames)
            throws IOException {
        this(
                Embedded.options(
                        addressFinder,
                        channelFactory,
                        handler,
                        maxBody,
                        maxLine,
                        maxWs,
                        proxyProtocolOption,
                        serverHeader,
                        legacyContentLength,
                        errorLogger,
                        warnLogger,
                        eventLogger,
                        eventNames));
    }

    /**
     * Binds.
     *
     * @throws java.net.BindException if the address cannot be had
     * @throws IllegalArgumentException for an address that is neither Inet nor Unix
     */
    public HttpServer(ServerOptions options) throws IOException {
        NativeLibrary.load();
        LoadAhead.forServers();
        Workers.loadWhatLoggingNeeds();
        this.options = options;
        FirstUse.rehearse(this);
        this.bodies = new BodyTasks(options.virtual);
        this.serverHeader = options.serverHeader;
        this.log = new ServerLog(options);
        this.responseWarnings = new ResponseWarnings(log);
        this.ringHandler = new RingExchanges(this, options.handler, options.async);
        this.embedded = options.embedded == null ? null : new Embedded(this, options.embedded);
        if (options.tls != null) {
            tls.read(ListenAddress.ofTls(options), options.tls);
        }
        this.handlerThreads = options.interruptHandlers ? new HandlerThreads() : null;
        this.accessLog = AccessLog.of(this, options.accessLog);
        try {
            this.handle = open();
        } catch (Throwable e) {
            AccessLog.discard(accessLog);
            throw e;
        }
        try {
            if (options.tls != null) {
                tls.bind();
            }
            boolean isPlain = ListenAddress.of(options) != ListenAddress.NONE;
            this.port = isPlain ? Native.serverPort(handle) : tls.port();
            this.workers = Workers.of(this, options);
        } catch (Throwable e) {
            Native.serverFree(handle); // otherwise the port would stay bound
            AccessLog.discard(accessLog);
            throw e;
        }
        this.loops = new Loops(options.ioThreads, this::loop);
    }

    private long open() throws IOException {
        options.set("push", pulls() ? 0 : 1);
        if (!options.isSet("max-buffered-bytes")) {
            options.set("max-buffered-bytes", BufferBudget.standard());
        }
        options.set("interrupt-handlers?", options.interruptHandlers ? 1 : 0);
        options.set("access-log", accessLog == null ? 0 : 1);
        options.set("tell-half-close", embedded == null ? 0 : 1);
        options.set("io-threads", options.ioThreads);
        options.set("n-min-threads", options.keptThreads());
        options.set("n-max-threads", options.maxThreads);
        ListenAddress address = ListenAddress.of(options);
        byte[] header = serverHeader == null ? null : serverHeader.getBytes(UTF_8);
        return Native.serverOpen(
                new Upcalls(this),
                address.kind,
                address.bytes,
                address.port,
                options.names(),
                options.values(),
                header);
    }

    private boolean pulls() {
        return options.pool == null && options.embedded == null;
    }

    /**
     * Starts serving.
     *
     * @return false if it was started before: a stopped server cannot be started again
     * @throws IOException never; declared because programs expect it
     */
    public boolean start() throws IOException {
        if (workers.isShut() || !status.compareAndSet(Status.STOPPED, Status.RUNNING)) {
            return false;
        }
        try {
            workers.start();
            loops.start();
            tls.start();
            AccessLog.start(accessLog);
            if (options.stopOnShutdown) {
                addShutdownHook();
            }
        } catch (Throwable e) {
            stopNow(); // out of memory for a thread, for example: leave nothing half started
            throw e;
        }
        return true;
    }

    private void stopNow() {
        try {
            stop(0, null);
        } catch (Throwable e) {
            log.error("stop", e);
        }
    }

    /** Starts serving, unless started before, and returns when the server has stopped. */
    @Override
    public void run() {
        try {
            if (start()) {
                join();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private void loop(boolean first) {
        try {
            Native.serverRun(handle, first);
        } catch (Throwable e) {
            Upcalls.loopFailed(log, e);
            stopNow();
        }
        Stopping stopping = ending.getAndSet(null);
        if (stopping != null) {
            stopping.finish();
        }
    }

    /**
     * Stops: accepts no new connections. Running requests, those that arrive on open ones, and what
     * WebSockets were sent get {@code timeout} msecs to end and be read, for which this blocks;
     * then callbacks of closed channels get a second. Silent connections are closed after half the
     * time, at most 500 msecs.
     *
     * @return true for the call that stopped it
     */
    public boolean stop(int timeout) {
        return stop(timeout, null);
    }

    /** As {@link #stop(int)}; {@code callback} runs once the loops have ended. */
    public boolean stop(int timeout, Runnable callback) {
        Stopping stopping = new Stopping(this, callback);
        if (!status.compareAndSet(Status.RUNNING, Status.STOPPING)
                && !status.compareAndSet(Status.DRAINING, Status.STOPPING)) {
            return false;
        }
        tls.stop();
        stopping.run(timeout);
        return true;
    }

    /** A stop has ended. */
    void ended(int served, int websockets, int cut, Runnable callback) {
        status.set(Status.STOPPED);
        stopped.countDown();
        try {
            removeShutdownHook();
            Draining drain = draining.get();
            if (drain != null) {
                drain.end(served, websockets, cut);
            }
        } finally {
            if (callback != null) {
                callback.run();
            }
        }
    }

    /**
     * Begins to stop, without blocking: accepts no new connections, and each response says that its
     * connection ends. Requests and streams get {@code timeout} msecs to end, WebSockets {@code
     * websocketGrace} msecs before they get close code 1001; then the server stops, and what is
     * left is cut. {@link #stop} shortens it.
     *
     * @return what it did, once the server has stopped; null if it is not running, or being stopped
     */
    public CompletableFuture<Drained> drain(int timeout, int websocketGrace) {
        if (status.get() == Status.RUNNING) {
            draining.compareAndSet(null, new Draining(this, timeout, websocketGrace));
        }
        Draining drain = draining.get();
        if (drain != null && status.compareAndSet(Status.RUNNING, Status.DRAINING)) {
            Native.serverDrain(handle);
            drain.begin();
        }
        boolean begun = drain != null && (drain.hasBegun() || status.get() == Status.DRAINING);
        return begun ? drain.ended : null;
    }

    private void addShutdownHook() {
        shutdownHook = ShutdownHook.add(this, options.shutdownTimeout);
        if (status.get() == Status.STOPPED) {
            removeShutdownHook(); // a loop failed meanwhile
        }
    }

    private void removeShutdownHook() {
        ShutdownHook hook = shutdownHook;
        if (hook != null) {
            hook.remove();
        }
    }

    /**
     * Waits until the server has stopped; in a close handler that the stop awaits, until its loops
     * have.
     */
    public void join() throws InterruptedException {
        loops.join();
        if (status.get() != Status.STOPPED && !workers.isAwaited()) {
            stopped.await();
        }
    }

    /** Waits {@code millis} at most. @return whether it has stopped */
    boolean awaitStopped(int millis) throws InterruptedException {
        return stopped.await(millis, TimeUnit.MILLISECONDS);
    }

    /** The address, the state, and the number of open connections and channels. */
    @Override
    public String toString() {
        return Description.of(this, status.get(), port);
    }

    /**
     * @return the bound port, even after a stop; -1 for a Unix domain socket. The TLS port if the
     *     server has no other
     */
    public int getPort() {
        return port;
    }

    /** Its TLS port; open it before the start. */
    public TlsListener tls() {
        return tls;
    }

    boolean wasStarted() {
        return workers.isShut() || getStatus() != Status.STOPPED;
    }

    public Status getStatus() {
        return status.get();
    }

    /** Whether the loop is running. */
    public boolean isAlive() {
        return loops.isAlive();
    }

    /** The body of a 500 for an exception with this message. */
    String errorText(String message) {
        return options.errorMessages ? message : "Internal Server Error";
    }

    Terms terms(RequestBlock block) {
        return Terms.of(block, options);
    }

    /** Passes a warning to the server's logger; never throws. Either may be null. */
    public void logWarning(String message, Throwable error) {
        log.warning(message, error);
    }
}
