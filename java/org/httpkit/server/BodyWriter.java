package org.httpkit.server;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * Runs the code of Ring's StreamableResponseBody, which writes its body to a stream and waits there
 * while the peer does not read. It cannot be made to wait elsewhere: it has a thread of its own.
 */
final class BodyWriter extends BodyTask {
    private Object streamable;
    private Object response;
    private final boolean asynchronous;

    /**
     * The writing code has returned; and, if others may go on writing, the stream has been closed.
     */
    private final AtomicInteger awaited;

    /**
     * @param asynchronous whether the body may be written on after the code has returned, until a
     *     close
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
                // Code that goes on writing does so on a thread of its own: a stop does not
                // wait for them.
                server.bodies.ended(this);
            } else {
                stream.close();
            }
            returnedOrClosed();
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
    void closed() {
        if (asynchronous) {
            returnedOrClosed();
        }
    }

    private void returnedOrClosed() {
        if (awaited.decrementAndGet() == 0) {
            complete();
        }
    }
}
