package org.httpkit.server;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Runs the code of a Ring StreamableResponseBody, which writes its body to a stream and blocks
 * there while the peer does not read. That cannot be avoided, so it has a thread of its own.
 */
final class BodyWriter extends BodyTask {
    private Object streamable;
    private Object response;
    private final boolean asynchronous;

    /**
     * What is still to come: the code's return and, if others may continue to write, the stream's
     * close.
     */
    private final AtomicInteger awaited;

    /**
     * @param asynchronous whether writing may continue after the code has returned, until a close
     */
    BodyWriter(
            OpenBody body,
            ResponseWriter out,
            Object streamable,
            Object response,
            boolean asynchronous) {
        super(body, out);
        this.streamable = streamable;
        this.response = response;
        this.asynchronous = asynchronous;
        this.awaited = new AtomicInteger(asynchronous ? 2 : 1);
    }

    @Override
    public void run() {
        BodyStream stream = new BodyStream(this);
        try {
            if (!body.isUnwanted()) {
                write(stream);
            }
            body.maker = null;
            if (asynchronous) {
                // Code that continues writing does so on its own threads: stop does not wait for
                // them.
                server.bodies.ended(this);
            } else {
                stream.close();
            }
            returnedOrClosed(stream);
        } catch (Throwable e) {
            if (stream.hasEnough()) {
                complete();
            } else {
                stream.refuse();
                fail(e);
            }
        }
    }

    private void write(BodyStream stream) {
        Object written = streamable;
        Object of = response;
        streamable = null;
        response = null;
        server.options.writeStreamable.invoke(written, of, stream);
    }

    /** The stream was closed. */
    void closed(BodyStream stream) {
        if (asynchronous) {
            try {
                returnedOrClosed(stream);
            } catch (Throwable e) {
                fail(e);
            }
        }
    }

    private void returnedOrClosed(BodyStream stream) {
        if (awaited.decrementAndGet() == 0) {
            stream.settle();
            complete();
        }
    }
}
