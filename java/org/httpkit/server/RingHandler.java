package org.httpkit.server;

import clojure.lang.IFn;

import org.httpkit.PrefixThreadFactory;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

import java.util.Objects;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.FutureTask;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Runs a Ring handler on a pool of threads, for programs that make an {@link HttpServer} by hand.
 *
 * <p>A server that is given one runs its Ring handler as {@code run-server} does, unless it is of a
 * subclass or has another header, event loggers or {@code legacyContentLength} than the server. For
 * requests that another {@link IHandler} passes on, it responds through the callback, with the
 * whole body in memory.
 */
public class RingHandler implements IHandler {
    final IFn handler;
    final String serverHeader;
    final boolean legacyContentLength;
    final boolean ringAsync;
    final EventNames eventNames;
    private final ExecutorService execs;
    private final ContextLogger<String, Throwable> errorLogger;
    private final LogLimit rejected;
    private final LogLimit queueFull;
    private final EventLogger<String> eventLogger;
    private final AtomicBoolean stoppingLogged = new AtomicBoolean();
    private final Unbegun unbegun;
    private final FrameQueues queues;

    /** As the constructor with 8 arguments, with the defaults of {@code run-server}. */
    public RingHandler(IFn handler, boolean ringAsync, ExecutorService execs) {
        this(
                handler,
                ringAsync,
                execs,
                ContextLogger.ERROR_PRINTER,
                EventLogger.NOP,
                EventNames.DEFAULT,
                ServerOptions.SERVER_HEADER,
                true);
    }

    /** As the constructor with 9 arguments, with the default loggers. */
    public RingHandler(
            int thread,
            IFn handler,
            boolean ringAsync,
            String prefix,
            int queueSize,
            String serverHeader) {
        this(
                thread,
                handler,
                ringAsync,
                prefix,
                queueSize,
                serverHeader,
                ContextLogger.ERROR_PRINTER,
                EventLogger.NOP,
                EventNames.DEFAULT);
    }

    /**
     * With a pool of its own.
     *
     * @param thread how many threads
     * @param handler see the constructor with 8 arguments
     * @param prefix prefix of thread names
     * @param queueSize requests that may be queued for a thread; more get a 503
     * @param serverHeader value of the Server header, null for none
     */
    public RingHandler(
            int thread,
            IFn handler,
            boolean ringAsync,
            String prefix,
            int queueSize,
            String serverHeader,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames) {
        this(
                handler,
                ringAsync,
                new ThreadPoolExecutor(
                        thread,
                        thread,
                        0,
                        TimeUnit.MILLISECONDS,
                        new ArrayBlockingQueue<>(queueSize),
                        new PrefixThreadFactory(prefix)),
                errorLogger,
                eventLogger,
                eventNames,
                serverHeader,
                true);
    }

    /**
     * @param handler (fn [request]), or (fn [request respond raise]) if {@code ringAsync}
     * @param execs runs it, and belongs to this object: {@link #close} shuts it down
     * @param errorLogger is given what the handler throws
     * @param eventLogger is given the status of each response
     * @param serverHeader value of the Server header, null for none
     * @param legacyContentLength false: a response to HEAD keeps the handler's Content-Length
     */
    public RingHandler(
            IFn handler,
            boolean ringAsync,
            ExecutorService execs,
            ContextLogger<String, Throwable> errorLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames,
            String serverHeader,
            boolean legacyContentLength) {
        this.handler = handler;
        this.ringAsync = ringAsync;
        this.execs = execs;
        this.errorLogger = errorLogger;
        this.rejected = new LogLimit(Workers.REJECTED, errorLogger);
        this.queueFull = new LogLimit(Workers.QUEUE_FULL, errorLogger);
        this.unbegun = new Unbegun(execs);
        this.queues = new FrameQueues(unbegun, e -> Loggers.log(errorLogger, ServerLog.WORKER, e));
        this.eventLogger = eventLogger;
        this.eventNames = eventNames;
        this.serverHeader = serverHeader;
        this.legacyContentLength = legacyContentLength;
    }

    /**
     * Takes over the Ring handler of {@code handler}, its pool and its logger into a server's
     * options, if the server can run it by itself. @return whether it can
     */
    static boolean adopt(IHandler handler, ServerOptions options) {
        if (handler.getClass() != RingHandler.class) {
            return false;
        }
        RingHandler ring = (RingHandler) handler;
        boolean same =
                Objects.equals(ring.serverHeader, options.serverHeader)
                        && ring.legacyContentLength == options.legacyContentLength
                        && ring.eventLogger == options.eventLogger
                        && ring.eventNames == options.eventNames;
        if (same) {
            options.handler = ring.handler;
            options.pool = ring.execs;
            options.async = ring.ringAsync;
            options.errorLogger = ring.errorLogger;
        }
        return same;
    }

    @Override
    public void handle(HttpRequest request, RespCallback callback) {
        RingReply reply = new RingReply(this, request, callback);
        try {
            unbegun.submit(
                    new RingCall(this, request, reply),
                    () -> refuse(reply, null),
                    () -> refuse(reply, Workers.orQueueFull(null)));
        } catch (Throwable e) {
            refuse(reply, e);
        }
    }

    /**
     * @param cause null if the pool was shut down before it began
     */
    private void refuse(RingReply reply, Throwable cause) {
        if (cause != null && !isShut()) {
            rejected.log(cause);
        } else if (stoppingLogged.compareAndSet(false, true)) {
            logError(Workers.STOPPING, null);
        }
        event(eventNames.serverStatus503);
        reply.unavailable();
    }

    /** A pool of a container does not say. */
    private boolean isShut() {
        try {
            return execs.isShutdown();
        } catch (Throwable e) {
            return false;
        }
    }

    @Override
    public void handle(AsyncChannel channel, Frame frame) {
        try {
            if (!queues.inOrder(channel, () -> deliver(channel, frame))) {
                overloaded(channel, null);
            }
        } catch (Throwable e) {
            overloaded(channel, e);
        }
    }

    private void overloaded(AsyncChannel channel, Throwable e) {
        channel.serverClose(1013, "Server overloaded");
        queueFull.log(e);
        event(eventNames.serverStatus503Todo);
    }

    private static void deliver(AsyncChannel channel, Frame frame) {
        if (frame instanceof Frame.TextFrame) {
            channel.messageReceived(((Frame.TextFrame) frame).getText());
        } else if (frame instanceof Frame.BinaryFrame) {
            channel.messageReceived(frame.data);
        } else if (frame instanceof Frame.PingFrame) {
            channel.pingReceived(frame.data);
        } else if (frame instanceof Frame.PongFrame) {
            channel.pongReceived(frame.data);
        }
    }

    @Override
    public void clientClose(AsyncChannel channel, int status) {
        clientClose(channel, status, "");
    }

    /** Runs the channel's close handlers, after queued events unless those take too long. */
    @Override
    public void clientClose(AsyncChannel channel, int status, String reason) {
        FutureTask<?> closing = new FutureTask<>(() -> closed(channel, status, reason), null);
        try {
            if (queues.isIdle(channel)) {
                Runnable aside = () -> Workers.aside(closing);
                unbegun.submit(closing, aside);
            } else if (queues.inOrder(channel, closing)) {
                new LateClosing(closing, closing::isDone, () -> queues.running(channel), execs)
                        .watch();
            } else {
                closing.run();
            }
        } catch (Throwable e) {
            if (!isShut()) {
                queueFull.log(e);
                event(eventNames.serverStatus503Todo);
            }
            closing.run();
        }
    }

    private void closed(AsyncChannel channel, int status, String reason) {
        try {
            channel.onClose(status, reason);
        } catch (Throwable e) {
            logError(ServerLog.CLOSE_HANDLER, e);
            event(eventNames.serverChannelCloseError);
        }
    }

    /** Shuts the pool down; tasks still running after {@code timeout} msecs are interrupted. */
    @Override
    public void close(int timeout) {
        unbegun.shutDown(timeout, errorLogger);
        rejected.tellOmitted();
        queueFull.tellOmitted();
    }

    void logError(String message, Throwable error) {
        Loggers.log(errorLogger, message, error);
    }

    void event(String name) {
        Loggers.event(eventLogger, name);
    }
}
