package org.httpkit.client;

import java.io.IOException;
import java.io.InputStream;
import java.lang.ref.Cleaner;
import java.lang.ref.Reference;
import java.util.ArrayDeque;
import java.util.Objects;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The body of a response that is still arriving.
 *
 * <p>Reads block in Java, so virtual threads may read; one read returns at most one network chunk.
 * Read bytes are returned to the connection as window, so a slow reader slows the peer down. After
 * a failure, earlier bytes are still readable; then an IOException is thrown.
 *
 * <p>A stream that is closed or abandoned before its end drops the connection.
 */
final class ResponseStream extends InputStream {
    private static final String ON_LOOP =
            "this thread is the client's loop, on which the :worker-pool ran the callback: it"
                    + " cannot wait for the rest of a body";

    private static final Cleaner CLEANER = Cleaner.create();

    private final Feed feed;

    ResponseStream(Feed feed) {
        this.feed = feed;
        CLEANER.register(this, feed::close);
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, into.length);
        try {
            return length == 0 ? 0 : feed.read(into, offset, length);
        } finally {
            // Not abandoned while it is read, even if this is the last use.
            Reference.reachabilityFence(this);
        }
    }

    @Override
    public int available() {
        return feed.available();
    }

    @Override
    public void close() {
        feed.close();
    }

    /** How a feed talks to the connection; the first two are called without a lock held. */
    interface Source {
        void credit(int n);

        void cancel();

        /** Whether this thread is the loop that fills the feed. */
        boolean isOnLoop();
    }

    /** Filled by the loop; does not reference the stream, so that an abandoned one is noticed. */
    static final class Feed {
        private final Source source;
        private final ReentrantLock lock = new ReentrantLock();
        private final Condition changed = lock.newCondition();
        private final ArrayDeque<byte[]> chunks = new ArrayDeque<>();
        private int position;
        private boolean ended;
        private boolean closed;
        private Throwable failure;

        Feed(Source source) {
            this.source = source;
        }

        void add(byte[] chunk) {
            lock.lock();
            try {
                if (!closed && chunk.length > 0) {
                    chunks.add(chunk);
                    changed.signalAll();
                }
            } finally {
                lock.unlock();
            }
        }

        /**
         * Only the first end counts.
         *
         * @param why null when the body is complete
         */
        void end(Throwable why) {
            lock.lock();
            try {
                if (!ended) {
                    ended = true;
                    failure = why;
                    changed.signalAll();
                }
            } finally {
                lock.unlock();
            }
        }

        private int read(byte[] into, int offset, int length) throws IOException {
            int n;
            int consumed = 0;
            lock.lock();
            try {
                awaitChunk();
                if (closed || chunks.isEmpty()) {
                    return atEnd();
                }
                byte[] chunk = chunks.peek();
                n = Math.min(length, chunk.length - position);
                System.arraycopy(chunk, position, into, offset, n);
                position += n;
                if (position == chunk.length) {
                    chunks.remove();
                    position = 0;
                    consumed = chunk.length;
                }
            } finally {
                lock.unlock();
            }
            if (consumed > 0) {
                source.credit(consumed);
            }
            return n;
        }

        private void awaitChunk() throws IOException {
            try {
                while (chunks.isEmpty() && !ended && !closed) {
                    if (source.isOnLoop()) {
                        throw new IOException(ON_LOOP);
                    }
                    changed.await();
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IOException("Interrupted while reading the response", e);
            }
        }

        private int atEnd() throws IOException {
            if (closed || failure == null) {
                return -1;
            }
            if (failure instanceof IOException) {
                throw (IOException) failure;
            }
            throw new IOException("Response stream failed", failure);
        }

        private int available() {
            lock.lock();
            try {
                return chunks.isEmpty() ? 0 : chunks.peek().length - position;
            } finally {
                lock.unlock();
            }
        }

        private void close() {
            boolean cancel;
            lock.lock();
            try {
                cancel = !closed && !ended;
                closed = true;
                chunks.clear();
                changed.signalAll();
            } finally {
                lock.unlock();
            }
            if (cancel) {
                source.cancel();
            }
        }
    }
}
