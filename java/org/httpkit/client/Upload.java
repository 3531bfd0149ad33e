package org.httpkit.client;

import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;
import org.httpkit.jni.Native;

/**
 * Pumps a streamed request body into the core, as fast as the core grants credit.
 *
 * <p>Runs on a thread of its own, since the source may block; starts with the first credit, that
 * is once the connection stands.
 */
final class Upload implements Runnable {
    private static final int PIECE = 64 * 1024;

    private final long client;
    private final long call;
    private final RequestBody body;
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition changed = lock.newCondition();
    private boolean started;
    private boolean finished;
    private long credit;
    private volatile Throwable failure;

    Upload(long client, long call, RequestBody body) {
        this.client = client;
        this.call = call;
        this.body = body;
    }

    /** From the loop: n more bytes may be sent. */
    void credit(int n) {
        boolean start;
        lock.lock();
        try {
            credit += n;
            start = !started && !finished;
            started = true;
            changed.signal();
        } finally {
            lock.unlock();
        }
        if (start) {
            BackgroundThreads.execute(this);
        }
    }

    /** The call is over, whatever was sent. */
    void finish() {
        boolean close;
        lock.lock();
        try {
            finished = true;
            close = !started;
            changed.signal();
        } finally {
            lock.unlock();
        }
        if (close) {
            BackgroundThreads.execute(this);
        }
    }

    /** Why the source could not be read to its end. */
    Throwable failure() {
        return failure;
    }

    @Override
    public void run() {
        try (InputStream in = body.source()) {
            pump(in);
        } catch (Throwable t) {
            failure = t;
            Native.clientSendFailed(client, call);
        }
    }

    private void pump(InputStream in) throws IOException, InterruptedException {
        byte[] piece = new byte[PIECE];
        long left = body.length() < 0 ? Long.MAX_VALUE : body.length();
        while (true) {
            int room = awaitCredit(piece.length);
            if (room == 0) {
                return;
            }
            int n = Math.max(0, in.read(piece, 0, (int) Math.min(room, left)));
            left -= n;
            boolean last = n == 0 || left == 0;
            if (last) {
                checkEnd(in, left);
            }
            if (!Native.clientSend(client, call, piece, 0, n, last) || last) {
                return;
            }
            spend(n);
        }
    }

    private void checkEnd(InputStream in, long left) throws IOException {
        if (body.length() >= 0 && left > 0) {
            throw new EOFException("Request body ended " + left + " bytes before its length " + body.length());
        }
        if (body.exact() && in.read() != -1) {
            throw new IOException("Request body is longer than its length " + body.length());
        }
    }

    /** Bytes that may be sent now; 0 when the call is over. */
    private int awaitCredit(int most) throws InterruptedException {
        lock.lock();
        try {
            while (credit == 0 && !finished) {
                changed.await();
            }
            return finished ? 0 : (int) Math.min(credit, most);
        } finally {
            lock.unlock();
        }
    }

    private void spend(int n) {
        lock.lock();
        try {
            credit -= n;
        } finally {
            lock.unlock();
        }
    }
}
