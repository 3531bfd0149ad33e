package org.httpkit.server;

import clojure.lang.IFn;

import org.httpkit.BytesInputStream;
import org.httpkit.HttpUtils;

import java.io.InputStream;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * Passes a request's body to a function piece by piece as it arrives, one call at a time, on the
 * worker pool. While nothing is there it holds no thread.
 */
public final class BodyCallback implements Runnable {
    private final AsyncChannel channel;
    private final IFn function;

    /** Null for a body that has come with its request, which is {@link #whole}. */
    private final RequestBodyStream stream;

    private final byte[] whole;

    /** How often {@link #goOn} was called since no thread runs this. */
    private final AtomicInteger asked = new AtomicInteger();

    private boolean over;

    private BodyCallback(
            AsyncChannel channel, IFn function, RequestBodyStream stream, byte[] whole) {
        this.channel = channel;
        this.function = function;
        this.stream = stream;
        this.whole = whole;
    }

    /**
     * Begins; does nothing on a channel without a connection.
     *
     * @param body of the request, as the server made it
     * @param function (fn [bytes last?])
     * @throws IllegalStateException if the body has a function already
     */
    public static void start(AsyncChannel channel, InputStream body, IFn function) {
        RequestBodyStream stream = null;
        byte[] whole = new byte[0];
        if (body instanceof RequestBodyStream) {
            stream = (RequestBodyStream) body;
        } else if (body instanceof BytesInputStream) {
            whole = ((BytesInputStream) body).bytes();
        } else if (body != null) {
            throw new IllegalArgumentException(
                    "on-body of " + body.getClass().getName() + ": expected the server's own body");
        }
        if (channel.server == null) {
            return;
        }
        BodyCallback callback = new BodyCallback(channel, function, stream, whole);
        if (stream != null) {
            stream.callBack(callback);
        }
        callback.goOn();
    }

    /** There may be something to read. Called on loops, so it never throws. */
    void goOn() {
        if (asked.getAndIncrement() == 0) {
            channel.server.workers.callback(this);
        }
    }

    /** One thread at a time: another wake-up lets the one that runs this look again. */
    @Override
    public void run() {
        int seen;
        do {
            seen = asked.get();
            if (!over) {
                try {
                    passOn();
                } catch (Throwable e) {
                    over = true; // no memory for the response to the first failure
                    channel.server.log.error(ServerLog.BODY_CALLBACK, e);
                }
            }
        } while (!asked.compareAndSet(seen, 0));
    }

    /** Passes on what has arrived. */
    private void passOn() {
        boolean last = stream == null;
        try {
            if (last) {
                function.invoke(whole, true);
            }
            while (!last) {
                byte[] piece = stream.nextPiece();
                if (piece == null) {
                    return;
                }
                last = stream.isComplete();
                function.invoke(piece, last);
            }
        } catch (Throwable e) {
            over = true;
            failed(e);
        } finally {
            if (last || over) {
                over = true;
                if (stream != null) {
                    stream.endCallbacks();
                }
            }
        }
    }

    /** As for a failing handler: the response says so, unless it has begun. */
    private void failed(Throwable e) {
        HttpServer server = channel.server;
        int status = stream == null ? -1 : stream.statusFor(e);
        if (status < 0 && stream != null && stream.isOver(e)) {
            return; // the response has been sent, and so nothing is missing
        }
        if (status == 0) {
            return; // the peer has left, which closes the channel
        }
        boolean send = channel.takeToFail();
        if (status < 0) {
            server.log.error(ServerLog.BODY_CALLBACK, e);
        }
        if (send) {
            try {
                respond(status, e);
            } finally {
                channel.failed();
            }
        }
    }

    private void respond(int status, Throwable e) {
        HttpServer server = channel.server;
        ResponseWriter out = server.writers.borrow();
        if (status < 0) {
            out.plain(500, server.errorText(HttpUtils.messageOf(e)), true);
            server.log.status(500);
        } else {
            stream.refuse(out);
        }
        Responses.send(channel.handle(), out);
        server.writers.giveBack(out);
    }
}
