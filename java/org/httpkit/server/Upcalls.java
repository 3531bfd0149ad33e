package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;
import org.httpkit.jni.ServerUpcalls;

import java.io.IOException;

/**
 * Forwards reports of a server's loops. Runs on the loops, so user code and loggers run elsewhere.
 */
final class Upcalls implements ServerUpcalls {
    private static final String LOOP_ERROR = "http server loop error, see stack trace for details";

    private final HttpServer server;

    Upcalls(HttpServer server) {
        this.server = server;
    }

    @Override
    public void onWork(byte[][] blocks) {
        for (byte[] block : blocks) {
            if (block != null) {
                server.workers.accept(block);
            }
        }
    }

    @Override
    public void onStarved(int waiting) {
        server.workers.starved(waiting);
    }

    @Override
    public void onDrained(long exchange, boolean written) {
        server.channels.drained(exchange, written);
        server.bodies.drained(exchange);
    }

    @Override
    public void onBody(long exchange) {
        server.bodyReaders.wake(exchange);
    }

    @Override
    public void onOverdue(long exchange) {
        HandlerThreads threads = server.handlerThreads;
        if (threads != null) {
            interruptAside(threads, exchange);
        }
    }

    /**
     * An interrupt closes the file that the handler reads, and may wait for its disk: no loop may.
     */
    private static void interruptAside(HandlerThreads threads, long exchange) {
        try {
            Workers.aside(() -> threads.interrupt(exchange));
        } catch (OutOfMemoryError noThread) {
            threads.interrupt(exchange);
        }
    }

    @Override
    public void onClosing(long handle, int code, String reason) {
        AsyncChannel channel = server.channels.get(handle);
        if (channel != null) {
            LateClosing.watch(server, channel, code, reason);
        }
    }

    @Override
    public void onNotice(int kind, int code, String message) {
        Workers.log(() -> notice(kind, code, message));
    }

    private void notice(int kind, int code, String message) {
        ServerLog log = server.log;
        switch (kind) {
            case Abi.NOTICE_VIOLATION:
                violation(code);
                break;
            case Abi.NOTICE_FRAME:
                log.brokenFrame(new WebSocketException(code, message));
                log.event(log.events.serverWsDecodeError);
                break;
            case Abi.NOTICE_REQUEST_REFUSED:
                server.workers.refused(null);
                break;
            case Abi.NOTICE_EVENTS_REFUSED:
                server.workers.eventsRefused(null);
                break;
            case Abi.NOTICE_TIMEOUT:
                log.event(log.events.serverTimeoutPrefix + message);
                break;
            case Abi.NOTICE_WARNING:
                log.warning(message, null);
                break;
            case Abi.NOTICE_HANDSHAKE:
                // No line for each: scanners fail all day.
                log.event(log.events.serverTlsHandshakeError);
                break;
            case Abi.NOTICE_FREED:
                Native.trimMemory();
                break;
            case Abi.NOTICE_FILE:
                log.error("send a file", new IOException(message));
                break;
            case Abi.NOTICE_ACCEPT:
                log.error("accept incoming request", new IOException(message));
                log.event(log.events.serverAcceptError);
                break;
            case Abi.NOTICE_LOOP:
            default:
                loopFailed(log, new IllegalStateException(message));
        }
    }

    private void violation(int status) {
        ServerLog log = server.log;
        if (status == 413) {
            log.event(log.events.serverStatus413);
        } else if (status == 414) {
            log.event(log.events.serverStatus414);
        } else if (status == 431) {
            log.status(431);
        }
    }

    static void loopFailed(ServerLog log, Throwable why) {
        log.error(LOOP_ERROR, why);
        log.event(log.events.serverLoopError);
    }
}
