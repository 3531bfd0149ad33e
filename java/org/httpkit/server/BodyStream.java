package org.httpkit.server;

import org.httpkit.jni.Abi;

import java.io.IOException;
import java.io.OutputStream;
import java.util.Objects;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.IntSupplier;

/**
 * The stream for code that writes a body itself. A write blocks while the peer does not read, and
 * so may the close that ends a body.
 *
 * <p>A close alone does not end the response: code that fails inside {@code with-open} closes too,
 * and half a body must not pass for a whole one.
 */
final class BodyStream extends OutputStream {
    private static final int PIECE = 64 * 1024;

    private final BodyWriter writer;
    private final OpenBody body;
    private final AtomicBoolean closed = new AtomicBoolean();
    private volatile boolean enough;

    BodyStream(BodyWriter writer) {
        this.writer = writer;
        this.body = writer.body;
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
        for (int at = 0; at < count; at += PIECE) {
            writePiece(bytes, start + at, Math.min(PIECE, count - at));
        }
    }

    private void writePiece(byte[] bytes, int start, int count) throws IOException {
        int sent = insist(() -> body.send(bytes, start, count));
        if (sent == OpenBody.UNWANTED) {
            enough = true;
            throw new IOException("the body of a response to HEAD is not sent");
        }
        if (sent == Abi.SENT_CLOSED) {
            body.server.channels.forgetDrain(body.handle);
            throw new BodyTask.PeerGoneException();
        }
    }

    private int insist(IntSupplier send) {
        int sent = send.getAsInt();
        return sent == Abi.SENT_FULL ? body.server.channels.drain(body.handle).insist(send) : sent;
    }

    /** Sends what is left, before the body ends. */
    void settle() {
        insist(body::settle);
    }

    /** Whether writes are refused because the rest is not needed, which is not a failure. */
    boolean hasEnough() {
        return enough;
    }

    /** Refuses all further writes. */
    void refuse() {
        closed.set(true);
    }

    @Override
    public void flush() throws IOException {
        if (!closed.get()) {
            body.flush();
        }
    }

    @Override
    public void close() {
        if (closed.compareAndSet(false, true)) {
            writer.closed(this);
        }
    }
}
