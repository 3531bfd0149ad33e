package org.httpkit.jni;

import java.io.EOFException;
import java.io.IOException;
import java.net.BindException;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.SocketException;
import java.util.Map;
import java.util.concurrent.CancellationException;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.zip.ZipException;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;
import org.httpkit.ContentTooLargeException;
import org.httpkit.HeadersTooLargeException;
import org.httpkit.HttpUtils;
import org.httpkit.LineTooLargeException;
import org.httpkit.ProtocolException;
import org.httpkit.client.AbortException;
import org.httpkit.client.TimeoutException;

/**
 * What the native client calls: finds the Java object behind an id and passes the news on.
 *
 * <p>All of it runs on a client's loop thread, so nothing here may block or throw: a fault of a
 * {@link Call} is reported to that call and stays there. Ids without an object are ignored.
 *
 * <p>Not API.
 */
public final class ClientUpcalls {
    /** Kind 2: the connect was refused, or timed out. */
    public static final int CONNECT = 2;

    /** Kind 4: there is no way to the peer. */
    public static final int NO_ROUTE = 4;

    /** Kind 16: {@link Native#clientCancel}. */
    public static final int CANCELLED = 16;

    /** Kind 17: the Throwable is Java's own, kept with the transport. */
    public static final int FOREIGN = 17;

    /** Kind 19: a fault of the library itself. */
    public static final int INTERNAL = 19;

    /** Kind 21: the Throwable is Java's own, kept with the upload. */
    public static final int SOURCE_FAILED = 21;

    /** One request in flight. Ends with exactly one of done, end and failed. */
    public interface Call {
        void done(int status, int flags, byte[] headers, byte[] body);

        void head(int status, int flags, byte[] headers);

        void body(byte[] data);

        void end();

        void failed(int kind, String message, long transport);

        void sendCredit(int n);

        void openTransport(long transport);

        void startTls(long transport, int level);

        /** One of the methods above threw. */
        void fault(Throwable t);
    }

    /** One channel that Java carries for the core. */
    public interface Transport {
        void write(byte[] data);

        void readCredit(int n);

        /** Closes the channel before it returns. */
        void close();
    }

    private static final Map<Long, Call> CALLS = new ConcurrentHashMap<>();
    private static final Map<Long, Transport> TRANSPORTS = new ConcurrentHashMap<>();

    private ClientUpcalls() {}

    /** Makes the call known; to be done before the core hears of the id. */
    public static void register(long id, Call call) {
        CALLS.put(id, call);
    }

    /** For calls that the core refused: no terminal upcall will remove them. */
    public static void forget(long id) {
        CALLS.remove(id);
    }

    /** Makes the transport known; it is forgotten when the core closes it. */
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

    private static void tell(Call call, Consumer<Call> news) {
        if (call != null) {
            try {
                news.accept(call);
            } catch (Throwable t) {
                call.fault(t);
            }
        }
    }

    static void callDone(long id, int status, int flags, byte[] headers, byte[] body) {
        tell(CALLS.remove(id), call -> call.done(status, flags, headers, body));
    }

    static void callHead(long id, int status, int flags, byte[] headers) {
        tell(CALLS.get(id), call -> call.head(status, flags, headers));
    }

    static void callBody(long id, byte[] data) {
        tell(CALLS.get(id), call -> call.body(data));
    }

    static void callEnd(long id) {
        tell(CALLS.remove(id), Call::end);
    }

    static void callFailed(long id, int kind, String message, long transport) {
        tell(CALLS.remove(id), call -> call.failed(kind, message, transport));
    }

    static void callSendCredit(long id, int n) {
        tell(CALLS.get(id), call -> call.sendCredit(n));
    }

    static void transportOpen(long transport, long id) {
        tell(CALLS.get(id), call -> call.openTransport(transport));
    }

    static void transportStartTls(long transport, long id, int level) {
        tell(CALLS.get(id), call -> call.startTls(transport, level));
    }

    static void transportWrite(long transport, byte[] data) {
        Transport found = TRANSPORTS.get(transport);
        if (found != null) {
            found.write(data);
        }
    }

    static void transportReadCredit(long transport, int n) {
        Transport found = TRANSPORTS.get(transport);
        if (found != null) {
            found.readCredit(n);
        }
    }

    static void transportClose(long transport) {
        Transport found = TRANSPORTS.remove(transport);
        if (found != null) {
            try {
                found.close();
            } catch (Throwable t) {
                HttpUtils.printError("should not happen", t);
            }
        }
    }

    /** The exception that users see for a kind of native failure. */
    public static Throwable failure(int kind, String message) {
        switch (kind) {
            case CONNECT:
                return new ConnectException(message);
            case 3:
                return new SocketException(message);
            case NO_ROUTE:
                return new NoRouteToHostException(message);
            case 5:
                return new BindException(message);
            case 6:
                return new TimeoutException(message);
            case 7:
                return new ProtocolException(message);
            case 8:
                return new LineTooLargeException(message);
            case 9:
                return new HeadersTooLargeException(message);
            case 10:
                return new AbortException(message);
            case 11:
                return new ZipException(message);
            case 12:
                return new EOFException(message);
            case 13:
                return new SSLHandshakeException(message);
            case 14:
                return new SSLException(message);
            case CANCELLED:
                return new CancellationException(message);
            case 18:
                return new IllegalArgumentException(message);
            case INTERNAL:
                return new RuntimeException(message);
            case 20:
                return new ContentTooLargeException(message);
            default:
                return new IOException(message);
        }
    }
}
