package org.httpkit.client;

import org.httpkit.jni.NativeClient;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * Pumps a streamed request body into the core, within the credit that the core grants.
 *
 * <p>A task that runs whenever there is credit; the first comes once the connection is established.
 * While the peer takes nothing, it holds no thread and no buffer.
 */
final class Upload implements Runnable {
    private static final int PIECE = 64 * 1024;

    /** Pieces in a row before it yields to tasks queued for a thread. */
    private static final int TURN = 4;

    /** How long a thread waits for credit, unless other tasks are queued for it. */
    private static final long PATIENCE = TimeUnit.MILLISECONDS.toNanos(20);

    private final HttpClient client;
    private final long call;
    private final RequestBody body;
    private final SourceThreads sources;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();

    /** Guarded by the lock, as the three below: the task is running or about to. */
    private boolean scheduled;

    /** The source is closed, or being closed. */
    private boolean closed;

    /** The call is over. */
    private boolean finished;

    private long credit;

    /** Used by the running task only, like the buffer. */
    private long left;

    private volatile Throwable failure;

    Upload(HttpClient client, long call, RequestBody body) {
        this.client = client;
        this.call = call;
        this.body = body;
        sources = SourceThreads.of(body);
        left = body.length() < 0 ? Long.MAX_VALUE : body.length();
    }

    /** From the loop: n more bytes may be sent. */
    void credit(int n) {
        lock.lock();
        try {
            credit += n;
            changed.signal();
        } finally {
            lock.unlock();
        }
        schedule();
    }

    /** The call is over, however much was sent. Never throws. */
    void finish() {
        lock.lock();
        try {
            finished = true;
            changed.signal();
        } finally {
            lock.unlock();
        }
        try {
            schedule();
        } catch (Throwable noThread) {
            client.impossible(noThread);
            if (!body.mayBlock() && claimClose()) {
                close();
            }
        }
    }

    /** Why the source could not be read to its end. */
    Throwable failure() {
        return failure;
    }

    private void schedule() {
        lock.lock();
        try {
            if (scheduled || closed) {
                return;
            }
            scheduled = true;
        } finally {
            lock.unlock();
        }
        try {
            sources.execute(this);
        } catch (Throwable t) {
            lock.lock();
            try {
                scheduled = false;
            } finally {
                lock.unlock();
            }
            throw t;
        }
    }

    @Override
    public void run() {
        boolean over = true;
        try {
            over = pump();
        } catch (Throwable t) {
            fail(t);
        }
        if (over && claimClose()) {
            close();
        }
    }

    private void fail(Throwable t) {
        failure = t;
        NativeClient.clientSendFailed(client.handle(), call);
    }

    /**
     * @return whether the source is no longer needed; otherwise the task may already be running
     *     again
     */
    private boolean pump() throws IOException, InterruptedException {
        byte[] piece = null;
        for (int pieces = 0; true; pieces++) {
            int room = room();
            if (room <= 0) {
                return room < 0;
            }
            if (pieces == TURN) {
                pieces = 0;
                if (sources.isCrowded()) {
                    sources.execute(this);
                    return false;
                }
            }
            piece = piece == null ? new byte[PIECE] : piece;
            if (!send(piece, room)) {
                return true;
            }
        }
    }

    /** Bytes that may be sent now; 0 if the task has to wait for credit, -1 if the call is over. */
    private int room() throws InterruptedException {
        lock.lock();
        try {
            // A peer that reads gives credit soon: waiting is quicker than restarting the task.
            for (long wait = PATIENCE;
                    credit == 0 && !finished && wait > 0 && !sources.isCrowded(); ) {
                wait = changed.awaitNanos(wait);
            }
            if (finished) {
                return -1;
            }
            scheduled = credit > 0;
            return (int) Math.min(credit, PIECE);
        } finally {
            lock.unlock();
        }
    }

    /**
     * @return false if that was all
     */
    private boolean send(byte[] piece, int room) throws IOException {
        InputStream in = body.source();
        int n = Math.max(0, in.read(piece, 0, (int) Math.min(room, left)));
        left -= n;
        boolean last = n == 0 || left == 0;
        if (last) {
            checkEnd(in);
        }
        lock.lock();
        try {
            credit -= n;
        } finally {
            lock.unlock();
        }
        return NativeClient.clientSend(client.handle(), call, piece, 0, n, last) && !last;
    }

    private void checkEnd(InputStream in) throws IOException {
        if (body.length() >= 0 && left > 0) {
            throw new EOFException(
                    "Request body ended " + left + " bytes before its length " + body.length());
        }
        if (body.exact() && in.read() != -1) {
            throw new IOException("Request body is longer than its length " + body.length());
        }
    }

    /** True once. */
    private boolean claimClose() {
        lock.lock();
        try {
            boolean may = !closed;
            closed = true;
            return may;
        } finally {
            lock.unlock();
        }
    }

    private void close() {
        try {
            body.close();
        } catch (Throwable t) {
            if (failure == null) {
                fail(t);
            }
        }
    }
}
