package org.httpkit.server;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import clojure.lang.IPersistentMap;
import clojure.lang.PersistentArrayMap;

import org.httpkit.ProtocolException;
import org.httpkit.RequestTooLargeException;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.io.OutputStream;
import java.net.SocketTimeoutException;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The body of a request, read while it arrives: for bodies longer than {@code
 * :request-buffer-size}.
 *
 * <p>A read blocks until there is something to read, in Java, so virtual threads may wait here.
 * Besides {@link IOException}, which is a {@link SocketTimeoutException} after {@code
 * :body-timeout}, it throws {@link ProtocolException} when the peer has left, or sends broken
 * chunks, and {@link RequestTooLargeException} beyond {@code :max-body}. When such an exception
 * leaves the handler, the server responds with the status that fits. Several threads may read: each
 * gets the bytes that the others did not.
 */
public final class RequestBodyStream extends InputStream {
    private static final int BUFFER = 8 * 1024;

    /** Shorter reads go through a buffer: each one of the native side costs a call. */
    private static final int SHORT = 1024;

    private static final int TRANSFER = 64 * 1024;

    /** Maximum delay of a reader whose wake-up was lost because memory ran out. */
    private static final long RETRY_SECONDS = 60;

    private final HttpServer server;
    private final long handle;

    /** Of the whole body; -1 if the peer has not said. */
    private final long length;

    private final ReentrantLock reading = new ReentrantLock();
    private final Semaphore arrived = new Semaphore(0);

    /** Bytes that have been taken over; at first those that came with the request. */
    private byte[] buffer;

    private int at;
    private int end;

    /** For later short reads. */
    private byte[] own;

    private long received;
    private volatile boolean complete;
    private volatile boolean closed;

    /** The response is about to be sent: no more can be taken over after that. */
    private volatile boolean responding;

    /** The request's channel, on which the response may be sent; null if it was not created. */
    private volatile AsyncChannel channel;

    private volatile Failure failure;

    /** The function that is called with the body; null while threads read it. */
    private volatile BodyCallback callback;

    /** Names and values in turn; of a complete body. */
    private volatile String[] trailers;

    /** Why no more can be read. */
    private static final class Failure {
        final Throwable why;

        /** Of the response if the handler does not catch it; 0 for none, -1 if it is its fault. */
        final int status;

        Failure(Throwable why, int status) {
            this.why = why;
            this.status = status;
        }
    }

    /** The bytes from {@code start} to {@code end} of {@code block} came with the request. */
    RequestBodyStream(
            HttpServer server, long handle, long length, byte[] block, int start, int end) {
        this.server = server;
        this.handle = handle;
        this.length = length;
        this.buffer = block;
        this.at = start;
        this.end = end;
        this.received = end - start;
    }

    @Override
    public int read() throws IOException {
        reading.lock();
        try {
            return fill(true) ? buffer[at++] & 0xff : -1;
        } finally {
            reading.unlock();
        }
    }

    /**
     * @return at least one byte, unless {@code count} is 0; -1 at the end
     */
    @Override
    public int read(byte[] into, int start, int count) throws IOException {
        Objects.checkFromIndexSize(start, count, into.length);
        if (count == 0) {
            return 0;
        }
        reading.lock();
        try {
            if (at == end && count >= SHORT) {
                return receive(into, start, count, true);
            }
            if (!fill(true)) {
                return -1;
            }
            int n = Math.min(count, end - at);
            System.arraycopy(buffer, at, into, start, n);
            at += n;
            return n;
        } finally {
            reading.unlock();
        }
    }

    /**
     * @return how many bytes can be read without waiting, at least; 0 while another thread reads
     */
    @Override
    public int available() throws IOException {
        if (!reading.tryLock()) {
            return 0;
        }
        try {
            fill(false);
            return end - at;
        } finally {
            reading.unlock();
        }
    }

    @Override
    public long transferTo(OutputStream out) throws IOException {
        Objects.requireNonNull(out, "out");
        byte[] piece = new byte[TRANSFER];
        long count = 0;
        for (int n = read(piece); n >= 0; n = read(piece)) {
            out.write(piece, 0, n);
            count += n;
        }
        return count;
    }

    /** Ends the stream, also for a thread that waits in it. The sender is not told. */
    @Override
    public void close() {
        closed = true;
        arrived.release();
    }

    @Override
    public String toString() {
        return "RequestBodyStream[" + (length < 0 ? "chunked" : "len=" + length) + "]";
    }

    /** Makes sure that the buffer has a byte. @return false if there is none, or none yet */
    private boolean fill(boolean wait) throws IOException {
        if (at < end && !closed) {
            return true;
        }
        if (own == null) {
            own = new byte[BUFFER];
        }
        at = end = 0;
        buffer = own;
        end = Math.max(0, receive(own, 0, own.length, wait));
        return end > 0;
    }

    /**
     * @return how many bytes were read; -1 at the end; 0 if there are none and {@code wait} is
     *     false
     */
    private int receive(byte[] into, int start, int count, boolean wait) throws IOException {
        requireUsable();
        if (complete) {
            return -1;
        }
        int n = Native.readBody(handle, into, start, count);
        if (n == Abi.BODY_LATER && wait) {
            n = await(into, start, count);
        }
        switch (n) {
            case Abi.BODY_END:
                complete();
                return -1;
            case Abi.BODY_LATER:
                requireUsable();
                return 0;
            case Abi.BODY_EARLY:
            case Abi.BODY_OVER:
            case Abi.BODY_BROKEN:
                failure = failure(n);
                throw RingExchanges.<IOException>sneaky(failure.why);
            default:
                received += n;
                return n;
        }
    }

    private void requireUsable() throws IOException {
        if (closed) {
            throw new IOException("the stream is closed");
        }
        if (failure != null) {
            throw RingExchanges.<IOException>sneaky(failure.why);
        }
    }

    /** Waits until there is something to read, and reads it. {@code BODY_LATER}: it was closed. */
    private int await(byte[] into, int start, int count) throws IOException {
        if (server.loops.isOnLoop()) {
            throw new IOException(Workers.ON_LOOP);
        }
        server.bodyReaders.add(handle, this);
        try {
            while (!closed) {
                arrived.drainPermits();
                // Only a read after the registration is certain to wake this thread.
                int n = Native.readBody(handle, into, start, count);
                if (n != Abi.BODY_LATER) {
                    return n;
                }
                if (!closed) {
                    arrived.tryAcquire(RETRY_SECONDS, TimeUnit.SECONDS);
                }
            }
            return Abi.BODY_LATER;
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new InterruptedIOException("interrupted while reading a request body");
        } finally {
            server.bodyReaders.remove(handle, this);
        }
    }

    /** There is something to read, or no more will come. Called on a loop. */
    void wake() {
        BodyCallback called = callback;
        if (called != null) {
            called.goOn();
        }
        arrived.release();
    }

    /** From now on the body is passed to this callback. */
    void callBack(BodyCallback callback) {
        reading.lock();
        try {
            if (this.callback != null) {
                throw new IllegalStateException("the body's callback is already set");
            }
            this.callback = callback;
        } finally {
            reading.unlock();
        }
        server.bodyReaders.add(handle, this);
    }

    void endCallbacks() {
        server.bodyReaders.remove(handle, this);
    }

    /**
     * What has arrived, for the callback: at the end a piece that may be empty, after which {@link
     * #isComplete} is true; null if there is nothing yet.
     */
    byte[] nextPiece() throws IOException {
        reading.lock();
        try {
            if (at < end && !closed) {
                byte[] piece = Arrays.copyOfRange(buffer, at, end);
                at = end;
                checkComplete();
                return piece;
            }
            byte[] piece = new byte[TRANSFER];
            int n = receive(piece, 0, piece.length, false);
            checkComplete();
            return n > 0 ? Arrays.copyOf(piece, n) : complete ? new byte[0] : null;
        } finally {
            reading.unlock();
        }
    }

    /** A known length tells before the native side does. */
    private void checkComplete() {
        if (received == length) {
            complete = true;
        }
    }

    boolean isComplete() {
        return complete;
    }

    private void complete() {
        complete = true;
        byte[] lines = length < 0 ? Native.trailers(handle) : null;
        if (lines != null) {
            trailers = new String(lines, ISO_8859_1).split("\n", -1);
        }
    }

    /**
     * The trailers of a body that has been read to its end.
     *
     * @return a map from lower-case names to values, repeated ones joined; null before the end and
     *     if there are none
     */
    public IPersistentMap trailers() {
        String[] lines = trailers;
        if (lines == null) {
            return null;
        }
        IPersistentMap map = PersistentArrayMap.EMPTY;
        for (int i = 0; i + 1 < lines.length; i += 2) {
            Object before = map.valAt(lines[i]);
            map = map.assoc(lines[i], before == null ? lines[i + 1] : before + "," + lines[i + 1]);
        }
        return map;
    }

    /** The response is about to be sent. */
    void responding() {
        responding = true;
    }

    /** The response may be sent on this channel, which tells when asked. */
    void respondsOn(AsyncChannel channel) {
        this.channel = channel;
    }

    private boolean hasResponded() {
        AsyncChannel known = channel;
        return responding || known != null && known.sender.isEnded();
    }

    private Failure failure(int code) {
        if (code == Abi.BODY_BROKEN) {
            String fault = Native.bodyFault(handle);
            if (fault != null) {
                return broken(Integer.parseInt(fault.substring(0, 3)), fault.substring(4));
            }
        }
        if (code == Abi.BODY_OVER && (callback != null || hasResponded())) {
            return new Failure(new IOException("the exchange is over"), -1);
        }
        String much = length < 0 ? received + " bytes" : received + " of " + length + " bytes";
        return new Failure(new ProtocolException("request body ended early: " + much), 0);
    }

    private static Failure broken(int status, String message) {
        if (status == 408) {
            return new Failure(new SocketTimeoutException(message), status);
        }
        return new Failure(
                status == 413
                        ? new RequestTooLargeException(message)
                        : new ProtocolException(message),
                status);
    }

    /**
     * The status of the response to an exception of the handler that came from this stream; 0 if
     * there is no peer for it; -1 for any other exception.
     */
    int statusFor(Throwable thrown) {
        Failure failed = failure;
        if (failed != null) {
            int depth = 0;
            for (Throwable t = thrown; t != null && depth < 100; t = t.getCause(), depth++) {
                if (t == failed.why) {
                    return failed.status;
                }
            }
        }
        return -1;
    }

    /** Whether the exception says that the response has been sent. */
    boolean isOver(Throwable thrown) {
        Failure failed = failure;
        return failed != null && failed.status < 0 && failed.why == thrown;
    }

    /**
     * Writes that response; for a time limit without a body, as with other requests.
     *
     * @return false if there is no peer for it
     */
    boolean refuse(ResponseWriter out) {
        Failure failed = failure;
        if (failed.status == 0) {
            return false;
        }
        String text = failed.status == 408 ? "" : failed.why.getMessage();
        out.plain(failed.status, text, !text.isEmpty());
        server.log.status(failed.status);
        return true;
    }
}
