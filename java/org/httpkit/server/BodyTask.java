package org.httpkit.server;

import java.io.IOException;
import java.util.concurrent.atomic.AtomicReference;

/** Produces and sends one body, on threads other than the handlers'. */
abstract class BodyTask implements Runnable {
    final HttpServer server;
    final OpenBody body;
    private final ResponseWriter out;

    /** Method and URI, for the log. */
    private String about;

    private final AtomicReference<Thread> thread = new AtomicReference<>();

    /**
     * @param out the writer that {@code body} was made with
     */
    BodyTask(OpenBody body, ResponseWriter out) {
        this.server = body.server;
        this.body = body;
        this.out = out;
    }

    /** Queues this as a task, see {@link #run}. @param about method and URI, for the log */
    final void start(String about) {
        this.about = about;
        server.bodies.run(this);
    }

    /** {@link #run}s, and can be interrupted meanwhile. */
    final void runHere() {
        Thread here = Thread.currentThread();
        thread.set(here);
        body.maker = here;
        try {
            run();
        } finally {
            // Another thread may already be running this.
            thread.compareAndSet(here, null);
        }
    }

    final void interrupt() {
        Thread running = thread.get();
        if (running != null) {
            running.interrupt();
        }
    }

    /** It cannot be run. */
    void refused(Throwable e) {
        fail(e);
    }

    /** The body is complete. */
    final void complete() {
        try {
            if (body.end()) {
                Responses.send(body.handle, out);
            }
        } finally {
            over();
        }
    }

    /**
     * Responds with 500, or cuts the body if its head has been sent. Logs {@code e} unless it is
     * the peer's fault: it has disconnected, or the body is made of its upload, which is broken.
     */
    final void fail(Throwable e) {
        int status = e instanceof PeerGoneException ? 0 : body.statusFor(e);
        try {
            if (status == 0) {
                body.cut();
            } else if (body.takeBack()) {
                if (status > 0) {
                    body.upload.refuse(out);
                } else if (e instanceof IOException) {
                    RingExchanges.unreadable(server, about, (IOException) e, out);
                } else {
                    RingExchanges.failed(server, about, e, out);
                }
                Responses.send(body.handle, out);
            } else {
                body.cut();
                if (status < 0) {
                    server.log.error(about, e);
                }
            }
        } finally {
            over();
        }
    }

    private void over() {
        server.bodies.ended(this);
        server.channels.forgetDrain(body.handle);
    }

    /** The peer has disconnected: not an error of the body. */
    static final class PeerGoneException extends IOException {
        private static final long serialVersionUID = 1L;

        PeerGoneException() {
            super("the peer has left, or does not read");
        }
    }
}
