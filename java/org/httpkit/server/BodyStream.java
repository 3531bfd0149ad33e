package org.httpkit.server;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * The body of a response whose length shows only while it is made.
 *
 * <p>Up to {@code :body-buffer-size} it is kept, and leaves with a Content-Length when it ends early
 * enough. What is longer is streamed from there on: the writing thread waits while the peer does not
 * read.
 *
 * <p>A close alone does not end the response: code that fails inside {@code with-open} closes too,
 * and half a body must not pass for a whole one.
 */
final class BodyStream extends OutputStream {
    private static final int PIECE = 64 * 1024;
    /** So much may wait for the peer before the writing thread does. */
    private static final int WINDOW = 256 * 1024;

    private final HttpServer server;
    private final long handle;
    private final ResponseWriter out;
    private final boolean headRequest;
    private final int keep;
    private final boolean asynchronous;
    private final AtomicInteger awaited;
    private final AtomicBoolean closed = new AtomicBoolean();

    private byte[] kept;
    private int length;
    private long total;
    private Drain drain;
    private boolean streaming;
    private boolean enough;

    /**
     * @param out holds status and header lines, which are sent when the body's form is known
     * @param asynchronous whether somebody may go on writing after {@link #finish}: the response ends
     *     when the stream has been closed as well
     */
    BodyStream(
            HttpServer server,
            long handle,
            ResponseWriter out,
            boolean headRequest,
            int keep,
            boolean asynchronous) {
        this.server = server;
        this.handle = handle;
        this.out = out;
        this.headRequest = headRequest;
        this.keep = keep;
        this.asynchronous = asynchronous;
        this.awaited = new AtomicInteger(asynchronous ? 2 : 1);
        this.kept = new byte[Math.min(keep, 8 * 1024)];
    }

    boolean hasStarted() {
        return streaming;
    }

    @Override
    public void write(int b) throws IOException {
        write(new byte[] {(byte) b}, 0, 1);
    }

    @Override
    public void write(byte[] bytes, int start, int count) throws IOException {
        Objects.checkFromIndexSize(start, count, bytes.length);
        if (closed.get()) {
            throw new IOException("the response body is closed");
        }
        total += count;
        if (headRequest) {
            requireWanted();
            return;
        }
        if (!streaming && length + count <= keep) {
            keepBytes(bytes, start, count);
            return;
        }
        if (!streaming) {
            startStreaming();
        }
        for (int at = 0; at < count; at += PIECE) {
            sendPiece(bytes, start + at, Math.min(PIECE, count - at));
        }
    }

    /** HEAD asks for the length only; a body that would be streamed has none to tell. */
    private void requireWanted() throws IOException {
        if (total <= keep) {
            return;
        }
        if (!enough && out.declared < 0) {
            startStreaming();
        }
        enough = true;
        throw new IOException("the body of an answer to HEAD is not sent");
    }

    /** Whether writes are refused because the rest is not wanted, which is no failure. */
    boolean hasEnough() {
        return enough;
    }

    private void keepBytes(byte[] bytes, int start, int count) {
        if (kept.length < length + count) {
            kept = Arrays.copyOf(kept, Math.min(keep, Math.max(kept.length * 2, length + count)));
        }
        System.arraycopy(bytes, start, kept, length, count);
        length += count;
    }

    private void startStreaming() throws IOException {
        int sent =
                Native.stream(
                        handle, out.status, out.flags, out.buffer, out.head, kept, 0, length);
        requireOpen(sent);
        streaming = true;
        drain = server.drain(handle);
        kept = null;
    }

    private void sendPiece(byte[] bytes, int start, int count) throws IOException {
        int sent = drain.insist(() -> Native.chunk(handle, bytes, start, count, 0, WINDOW));
        if (sent == Abi.SENT_CLOSED) {
            server.forgetDrain(handle);
        }
        requireOpen(sent);
    }

    private static void requireOpen(int sent) throws PeerGoneException {
        if (sent == Abi.SENT_CLOSED) {
            throw new PeerGoneException();
        }
    }

    /** What has been kept leaves now, as the start of a stream. */
    @Override
    public void flush() throws IOException {
        if (!closed.get() && !streaming && !headRequest && length > 0) {
            startStreaming();
        }
    }

    @Override
    public void close() {
        if (closed.compareAndSet(false, true) && asynchronous) {
            endWithLast();
        }
    }

    /** The code that writes the body has returned. */
    void finish() {
        if (!asynchronous) {
            closed.set(true);
        }
        endWithLast();
    }

    private void endWithLast() {
        if (awaited.decrementAndGet() > 0) {
            return;
        }
        if (streaming) {
            server.forgetDrain(handle);
            Native.end(handle);
            return;
        }
        if (headRequest) {
            out.declareLength(total);
        } else {
            out.setBody(kept, 0, length);
        }
        server.answer(handle, out);
    }

    /** The body failed half way: the peer must see that it is cut. */
    void abort() {
        closed.set(true);
        server.forgetDrain(handle);
        Native.abort(handle);
    }

    /** Copies all of a stream, and closes it. */
    void copy(InputStream in) throws IOException {
        try (InputStream body = in) {
            byte[] piece = new byte[PIECE];
            for (int n = body.read(piece); n >= 0; n = body.read(piece)) {
                write(piece, 0, n);
            }
        }
    }

    /** There is nobody to send to: not an error of the body. */
    static final class PeerGoneException extends IOException {
        private static final long serialVersionUID = 1L;

        PeerGoneException() {
            super("the peer has left, or does not read");
        }
    }
}
