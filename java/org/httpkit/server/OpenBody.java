package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Arrays;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The body of a response whose length is unknown until it has been produced. Nothing here waits for
 * the peer.
 *
 * <p>It is buffered up to {@code :body-buffer-size}, and sent with a Content-Length if it ends by
 * then. A longer body is streamed from there on, and so is one whose source falls silent.
 */
final class OpenBody {
    /** Bytes queued for the peer at which a sender waits. */
    static final int WINDOW = 256 * 1024;

    /**
     * Outcome of a send besides {@code Abi.SENT_*}: the rest is not needed in a response to HEAD.
     */
    static final int UNWANTED = -1;

    /** A source is silent after this many ticks without data: about 20 ms. */
    private static final int SILENT_TICKS = 2;

    /** The same if its thread is not seen to block: a busy machine may have delayed it. */
    private static final int BUSY_TICKS = 6;

    private enum State {
        KEEPING,
        STREAMING,
        OVER
    }

    final HttpServer server;
    final long handle;
    private final int status;
    private final boolean headRequest;
    private final int keep;

    /** The request's body, of which this one may be made; null if it is not read as it arrives. */
    final RequestBodyStream upload;

    /** The thread that produces the body; null if unknown. */
    volatile Thread maker = Thread.currentThread();

    /** Status and header lines, and a buffer for a short body. */
    private final ResponseWriter out;

    private boolean statusLogged;

    /**
     * Guards the state's changes, and what is kept until the thread that ends the body takes it;
     * never held across blocking calls.
     */
    private final ReentrantLock lock = new ReentrantLock();

    private volatile State state = State.KEEPING;
    private byte[] kept;
    private int length;
    private long total;
    private int sends;

    /** Of a stream, small parts on their way; null before. */
    private SmallParts parts;

    /** Used by the timer only, like the number below. */
    private int sendsBefore;

    private int silentTicks;

    OpenBody(
            HttpServer server,
            long handle,
            ResponseWriter out,
            boolean headRequest,
            RequestBodyStream upload) {
        this.server = server;
        this.handle = handle;
        this.out = out;
        this.status = out.status;
        this.headRequest = headRequest;
        this.keep = server.options.bodyBufferSize;
        this.upload = upload;
    }

    /** See {@link RequestBodyStream#statusFor}. */
    int statusFor(Throwable thrown) {
        return upload == null ? -1 : upload.statusFor(thrown);
    }

    /** Whether a body of this length is read into memory whole. */
    static boolean isShort(HttpServer server, long length) {
        return length <= server.options.bodyBufferSize;
    }

    boolean isStreaming() {
        return state == State.STREAMING;
    }

    /** Whether the response to HEAD has been sent, so that no more of the body is needed. */
    boolean isUnwanted() {
        return headRequest && state == State.STREAMING;
    }

    /**
     * Sends a part of the body, or buffers it.
     *
     * @return {@code Abi.SENT_*}, or {@link #UNWANTED}
     */
    int send(byte[] bytes, int start, int count) {
        if (state == State.KEEPING) {
            int kept = keep(bytes, start, count);
            if (kept != Abi.SENT_FULL) {
                return kept;
            }
        }
        logStatus();
        if (headRequest) {
            return UNWANTED;
        }
        lock.lock();
        try {
            // A body whose end another thread has begun takes no more.
            return state == State.STREAMING ? parts.send(bytes, start, count) : Abi.SENT_CLOSED;
        } finally {
            lock.unlock();
        }
    }

    /**
     * @return {@code SENT_FULL} if the caller must send the part itself, after the buffered bytes
     */
    private int keep(byte[] bytes, int start, int count) {
        lock.lock();
        try {
            if (state != State.KEEPING) {
                return Abi.SENT_FULL;
            }
            total += count;
            sends++;
            if (headRequest) {
                return countOnly();
            }
            if (length + (long) count > keep) {
                return stream() ? Abi.SENT_FULL : Abi.SENT_CLOSED;
            }
            append(bytes, start, count);
        } finally {
            lock.unlock();
        }
        return Abi.SENT_ACCEPTED;
    }

    /** HEAD only needs the length, and a streamed body has none. */
    private int countOnly() {
        if (total <= keep) {
            watch();
            return Abi.SENT_ACCEPTED;
        }
        if (out.declared < 0) {
            stream();
        }
        return UNWANTED;
    }

    private void append(byte[] bytes, int start, int count) {
        if (kept == null) {
            kept = new byte[Math.min(keep, Math.max(count, 1024))];
        } else if (kept.length < length + count) {
            kept = Arrays.copyOf(kept, Math.min(keep, Math.max(kept.length * 2, length + count)));
        }
        System.arraycopy(bytes, start, kept, length, count);
        length += count;
        watch();
    }

    private void watch() {
        if (sends == 1 && out.declared < 0) {
            SilentBodies.add(this);
        }
    }

    /** Sends the head and the buffered bytes. @return false if the peer has disconnected */
    private boolean stream() {
        out.codeStream();
        boolean begun = Responses.start(handle, out, kept, 0, length) != Abi.SENT_CLOSED;
        parts = begun ? new SmallParts(this) : null;
        state = begun ? State.STREAMING : State.OVER;
        kept = null;
        length = 0;
        SilentBodies.remove(this);
        return begun;
    }

    /** Sends the head and any buffered bytes now, as the start of a stream. */
    void start() {
        lock.lock();
        try {
            if (state == State.KEEPING) {
                stream();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Sends what is buffered, if anything, as far as the peer's queue has room. */
    void flush() {
        lock.lock();
        try {
            if (state == State.STREAMING) {
                parts.flushAndShrink();
            } else if (state == State.KEEPING && length > 0 && !headRequest) {
                stream();
            }
        } finally {
            lock.unlock();
        }
    }

    /**
     * Sends what is left of a stream, before {@link #end}. What another thread sends later is
     * refused instead of lost.
     *
     * @return {@code Abi.SENT_*}; if full, there is still something to send
     */
    int settle() {
        lock.lock();
        try {
            if (state != State.STREAMING) {
                return Abi.SENT_ACCEPTED;
            }
            int sent = parts.flush();
            if (sent != Abi.SENT_FULL) {
                state = State.OVER;
                SilentBodies.remove(this);
            }
            return sent;
        } finally {
            lock.unlock();
        }
    }

    /** Called by the timer. */
    void tick() {
        if (!lock.tryLock()) {
            silentTicks = 0; // it is being used right now
            return;
        }
        try {
            if (state == State.STREAMING) {
                parts.tick();
            } else if (state != State.KEEPING || sends != sendsBefore) {
                sendsBefore = sends;
                silentTicks = 0;
            } else if (++silentTicks >= (isMakerBusy() ? BUSY_TICKS : SILENT_TICKS)) {
                stream();
            }
        } finally {
            lock.unlock();
        }
    }

    /** A tick has failed: what is kept leaves with more of the body, or at its end. */
    void tickFailed(Throwable cause) {
        SilentBodies.remove(this);
        Workers.log(() -> server.log.error("a body that pauses", cause));
    }

    private boolean isMakerBusy() {
        Thread thread = maker;
        return thread != null && thread.getState() == Thread.State.RUNNABLE;
    }

    /** The body is complete. @return whether the writer holds all of it, for the caller to send */
    boolean end() {
        if (takeBack()) {
            if (headRequest) {
                out.declareLength(total);
            } else if (kept != null) {
                out.setOwnBody(kept, length);
            }
            logStatus();
            return true;
        }
        logStatus();
        Native.endStream(handle);
        return false;
    }

    /** Ends it without a trace if nothing was sent. @return false if something was */
    boolean takeBack() {
        if (upload != null) {
            upload.responding(); // until now, only its peer could end the exchange
        }
        lock.lock();
        try {
            if (state != State.KEEPING) {
                return false;
            }
            state = State.OVER;
            if (sends > 0) {
                SilentBodies.remove(this);
            }
            return true;
        } finally {
            lock.unlock();
        }
    }

    /** Cuts the body, visibly to the peer. */
    void cut() {
        logStatus();
        try {
            settle();
        } finally {
            SilentBodies.remove(this);
            Native.abort(handle);
        }
    }

    /** Logs the status, on a thread that may run user code. */
    private void logStatus() {
        if (!statusLogged) {
            statusLogged = true;
            server.log.status(status);
        }
    }
}
