package org.httpkit.client;

import org.httpkit.ContentTooLargeException;
import org.httpkit.HttpStatus;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Abi;
import org.httpkit.jni.NativeClient;

import java.util.Map;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A response whose pieces a user's listener or filter wants to see.
 *
 * <p>They are passed on one by one, in order, on a background thread, because user code may block
 * and the loop serves other calls. The call's window limits unprocessed pieces. One that runs is
 * the most that delays the report of a time limit, a cancellation or a stop.
 */
final class ListenedCall extends Call {
    private final IRespListener listener;
    private final ConcurrentLinkedQueue<News> news = new ConcurrentLinkedQueue<>();
    private final AtomicInteger waiting = new AtomicInteger();
    private final HeapShare share = new HeapShare();
    private boolean headSeen;

    /** Written by the single thread that passes events on. */
    private volatile boolean over;

    /**
     * The user or a time limit has ended the request, on the loop: pieces that have not been passed
     * on are not. Those before a peer's fault are.
     */
    private volatile boolean ended;

    private interface News {
        void tell() throws Exception;
    }

    private final class Failure implements News {
        private final Throwable why;

        Failure(Throwable why) {
            this.why = why;
        }

        @Override
        public void tell() {
            over();
            listener.onThrowable(why);
        }
    }

    ListenedCall(HttpClient client, IRespListener listener) {
        super(client);
        this.listener = listener;
        if (listener instanceof RespListener) {
            ((RespListener) listener).share(share);
        }
    }

    @Override
    boolean raw() {
        return true;
    }

    // A collector counts decoded bytes, not received ones.
    @Override
    long bodyLimit(RequestConfig config) {
        return listener instanceof RespListener ? -1 : super.bodyLimit(config);
    }

    @Override
    public void head(int status, int flags, byte[] block) {
        boolean first = !headSeen;
        headSeen = true;
        post(
                () -> {
                    if (first) {
                        HttpVersion version =
                                (flags & Abi.HEAD_HTTP10) != 0
                                        ? HttpVersion.HTTP_1_0
                                        : HttpVersion.HTTP_1_1;
                        listener.onInitialLineReceived(version, HttpStatus.valueOf(status));
                    }
                    Map<String, Object> headers = HeaderBlock.parse(block);
                    listener.onHeadersReceived(headers);
                });
    }

    @Override
    public void body(byte[] data) {
        if (data.length > 0) {
            post(
                    () -> {
                        listener.onBodyReceived(data, data.length);
                        NativeClient.clientCredit(client.handle(), id, data.length);
                    });
        }
    }

    @Override
    public void end() {
        finished();
        post(
                () -> {
                    over();
                    listener.onCompleted();
                });
    }

    @Override
    public void failed(int kind, String message, long transport) {
        ended = kind == Abi.FAIL_TIMEOUT || kind == Abi.FAIL_CANCELLED || kind == Abi.FAIL_STOPPED;
        super.failed(kind, message, transport);
    }

    @Override
    void fail(Throwable t) {
        post(new Failure(t));
    }

    // Nothing is in flight yet, and the caller may want to handle an exception immediately.
    @Override
    void refuse(Throwable t) {
        listener.onThrowable(t);
    }

    private void over() {
        over = true;
        share.release();
    }

    private void post(News piece) {
        news.add(piece);
        if (waiting.getAndIncrement() == 0) {
            passOnElsewhere();
        }
    }

    private void passOnElsewhere() {
        try {
            BackgroundThreads.execute(this::passOn);
        } catch (Throwable noThread) {
            // The listener must be told the end, on any thread.
            client.impossible(noThread);
            passOn();
        }
    }

    private void passOn() {
        do {
            News piece = news.poll();
            if (!over && (!ended || piece instanceof Failure)) {
                tell(piece);
            }
        } while (waiting.decrementAndGet() > 0);
    }

    private void tell(News piece) {
        try {
            piece.tell();
        } catch (AbortException | ContentTooLargeException e) {
            abort(e);
        } catch (Throwable t) {
            client.impossible(t);
            abort(t);
        }
    }

    private void abort(Throwable why) {
        if (!over) {
            over();
            try {
                NativeClient.clientCancel(client.handle(), id);
                listener.onThrowable(why);
            } catch (Throwable t) {
                client.impossible(t);
            }
        }
    }
}
