package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.ISeq;
import clojure.lang.RT;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.util.Objects;

/** The source of a body, read piece by piece. */
abstract class BodySource implements Closeable {
    /** The piece that was read; bytes from position on are still to be sent. */
    byte[] bytes;

    int start;
    int count;

    /**
     * @param body an InputStream or a Seqable
     */
    static BodySource of(Object body) {
        return body instanceof InputStream
                ? new StreamSource((InputStream) body)
                : new SeqSource(body);
    }

    /**
     * Reads the next piece, on the calling thread.
     *
     * @param size most bytes wanted, where the source allows a choice
     * @return false at the end
     */
    abstract boolean read(int size) throws IOException;

    @Override
    public void close() throws IOException {}

    final void sent(int n) {
        start += n;
        count -= n;
        if (count == 0) {
            rest();
        }
    }

    /** Everything is sent. */
    void rest() {}

    /** Frees what can be recreated, before a wait that may be long. */
    void shrink() {}

    private static final class StreamSource extends BodySource {
        private final InputStream in;

        StreamSource(InputStream in) {
            this.in = in;
        }

        @Override
        boolean read(int size) throws IOException {
            if (bytes == null || bytes.length < size) {
                bytes = new byte[size];
            }
            count = in.read(bytes);
            start = 0;
            return count >= 0;
        }

        @Override
        void shrink() {
            if (count <= 0) {
                bytes = null;
            }
        }

        @Override
        public void close() throws IOException {
            in.close();
        }
    }

    /**
     * A lazy seq may be longer than the heap: nothing here holds more of it than the next element.
     */
    private static final class SeqSource extends BodySource {
        private Object body;
        private ISeq seq;

        SeqSource(Object body) {
            this.body = body;
        }

        @Override
        boolean read(int size) {
            if (body == null) {
                seq = seq.next();
            } else {
                seq = RT.seq(take());
            }
            if (seq == null) {
                return false;
            }
            Object part =
                    Objects.requireNonNull(seq.first(), "nil in a response's :body, a sequence");
            bytes = part.toString().getBytes(UTF_8);
            start = 0;
            count = bytes.length;
            return true;
        }

        private Object take() {
            Object whole = body;
            body = null;
            return whole;
        }

        @Override
        void rest() {
            bytes = null;
        }
    }
}
