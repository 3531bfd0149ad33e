package org.httpkit.jni;

import org.httpkit.ContentTooLargeException;
import org.httpkit.HeadersTooLargeException;
import org.httpkit.LineTooLargeException;
import org.httpkit.ProtocolException;
import org.httpkit.client.AbortException;
import org.httpkit.client.TimeoutException;

import java.io.EOFException;
import java.io.IOException;
import java.net.BindException;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.SocketException;
import java.util.concurrent.CancellationException;
import java.util.zip.ZipException;

import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;

/**
 * Upcalls of the native client: finds the Java object for an id and forwards the event.
 *
 * <p>All of it runs on a client's loop thread, so nothing here may block or throw. Each method
 * returns whether its event was accepted. If not, because a {@link Call} threw or the heap is full,
 * that call fails: the core then calls {@link #callFailed}, repeatedly until it is accepted. Ids
 * without an object are ignored.
 *
 * <p>Not API.
 */
public final class ClientUpcalls {
    /**
     * One request in flight. It ends with exactly one of done, end and failed that returns
     * normally; one that throws does not count.
     */
    public abstract static class Call {
        /** Whether one of the ends has returned. Loop thread only. */
        private boolean ended;

        public abstract void done(int status, int flags, byte[] headers, byte[] body);

        public abstract void head(int status, int flags, byte[] headers);

        public abstract void body(byte[] data);

        public abstract void end();

        public abstract void failed(int kind, String message, long transport);

        public abstract void sendCredit(int n);

        public abstract void openTransport(long transport);

        public abstract void startTls(Transport transport, int level);

        /** One of the methods above threw. Must not throw. */
        public abstract void fault(Throwable t);
    }

    /** One channel that Java carries for the core. An exception from any method breaks it. */
    public interface Transport {
        void write(byte[] data);

        void readCredit(int n);

        /** Closes the channel before it returns. Must not throw. */
        void close();
    }

    private static final Ids<Call> CALLS = new Ids<>();
    private static final Ids<Transport> TRANSPORTS = new Ids<>();

    private ClientUpcalls() {}

    /** Registers the call; do this before passing the id to the core. */
    public static void register(long id, Call call) {
        CALLS.put(id, call);
    }

    /** For calls that the core refused: no terminal upcall will remove them. */
    public static void forget(long id) {
        CALLS.forget(id);
    }

    /** This thread will run a loop. */
    public static void enter() {
        CALLS.enter();
        TRANSPORTS.enter();
    }

    /** This thread has run a loop, which has ended. */
    public static void leave() {
        CALLS.leave();
        TRANSPORTS.leave();
    }

    /** Registers the transport; it is removed when the core closes it. */
    public static void registerTransport(long id, Transport transport) {
        TRANSPORTS.put(id, transport);
    }

    /** Calls in flight in all clients of the process, for leak checks. */
    public static int liveCalls() {
        return CALLS.size();
    }

    /** Hosted transports of all clients of the process, for leak checks. */
    public static int liveTransports() {
        return TRANSPORTS.size();
    }

    private static boolean refused(Call call, Throwable t) {
        call.fault(t);
        return false;
    }

    private static boolean ended(long id, Call call) {
        call.ended = true;
        CALLS.remove(id);
        return true;
    }

    static boolean callDone(long id, int status, int flags, byte[] headers, byte[] body) {
        Call call = CALLS.get(id);
        if (call == null) {
            return true;
        }
        try {
            call.done(status, flags, headers, body);
        } catch (Throwable t) {
            return refused(call, t);
        }
        return ended(id, call);
    }

    /**
     * Bytes of responses that the heap has room for: its maximum minus the used part, but at least
     * a quarter of it, since an unknown share of the used part is garbage.
     */
    public static long room() {
        Runtime jvm = Runtime.getRuntime();
        long most = jvm.maxMemory();
        return Math.max(most - (jvm.totalMemory() - jvm.freeMemory()), most / 4);
    }

    static boolean callHead(long id, int status, int flags, byte[] headers) {
        Call call = CALLS.get(id);
        try {
            if (call != null) {
                call.head(status, flags, headers);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return true;
    }

    static boolean callBody(long id, byte[] data) {
        Call call = CALLS.get(id);
        try {
            if (call != null) {
                call.body(data);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return true;
    }

    static boolean callEnd(long id) {
        Call call = CALLS.get(id);
        if (call == null) {
            return true;
        }
        try {
            call.end();
        } catch (Throwable t) {
            return refused(call, t);
        }
        return ended(id, call);
    }

    static boolean callFailed(long id, int kind, String message, long transport) {
        Call call = CALLS.get(id);
        if (call == null) {
            return true;
        }
        try {
            if (!call.ended) {
                call.failed(kind, message, transport);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return ended(id, call);
    }

    static boolean callSendCredit(long id, int n) {
        Call call = CALLS.get(id);
        try {
            if (call != null) {
                call.sendCredit(n);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return true;
    }

    static boolean transportOpen(long transport, long id) {
        Call call = CALLS.get(id);
        try {
            if (call != null) {
                call.openTransport(transport);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return true;
    }

    static boolean transportStartTls(long transport, long id, int level) {
        Call call = CALLS.get(id);
        Transport found = TRANSPORTS.get(transport);
        try {
            if (call != null && found != null) {
                call.startTls(found, level);
            }
        } catch (Throwable t) {
            return refused(call, t);
        }
        return true;
    }

    static boolean transportWrite(long transport, byte[] data) {
        Transport found = TRANSPORTS.get(transport);
        if (found != null) {
            found.write(data);
        }
        return true;
    }

    static boolean transportReadCredit(long transport, int n) {
        Transport found = TRANSPORTS.get(transport);
        if (found != null) {
            found.readCredit(n);
        }
        return true;
    }

    static boolean transportClose(long transport) {
        Transport found = TRANSPORTS.remove(transport);
        if (found != null) {
            found.close();
        }
        return true;
    }

    /**
     * The exception that users see for a kind of native failure. For {@code FAIL_HOSTED} and {@code
     * FAIL_SOURCE} it is the Java exception kept with the transport or the upload, if that still
     * exists.
     */
    public static Throwable failure(int kind, String message) {
        switch (kind) {
            case Abi.FAIL_CONNECT:
                return new ConnectException(message);
            case Abi.FAIL_SOCKET:
                return new SocketException(message);
            case Abi.FAIL_NO_ROUTE:
                return new NoRouteToHostException(message);
            case Abi.FAIL_BIND:
                return new BindException(message);
            case Abi.FAIL_TIMEOUT:
                return new TimeoutException(message);
            case Abi.FAIL_PROTOCOL:
                return new ProtocolException(message);
            case Abi.FAIL_LINE_TOO_LARGE:
                return new LineTooLargeException(message);
            case Abi.FAIL_HEADERS_TOO_LARGE:
                return new HeadersTooLargeException(message);
            case Abi.FAIL_ABORT:
                return new AbortException(message);
            case Abi.FAIL_ZIP:
                return new ZipException(message);
            case Abi.FAIL_EOF:
                return new EOFException(message);
            case Abi.FAIL_SSL_HANDSHAKE:
                return new SSLHandshakeException(message);
            case Abi.FAIL_SSL:
                return new SSLException(message);
            case Abi.FAIL_CANCELLED:
                return new CancellationException(message);
            case Abi.FAIL_ARGUMENT:
                return new IllegalArgumentException(message);
            case Abi.FAIL_INTERNAL:
                return new RuntimeException(message);
            case Abi.FAIL_TOO_LARGE:
                return new ContentTooLargeException(message);
            case Abi.FAIL_IO:
            case Abi.FAIL_STOPPED:
            case Abi.FAIL_HOSTED:
            case Abi.FAIL_SOURCE:
            default:
                return new IOException(message);
        }
    }
}
