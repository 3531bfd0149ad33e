package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.AFn;
import clojure.lang.IFn;
import clojure.lang.ISeq;
import clojure.lang.RT;
import clojure.lang.Seqable;
import java.io.EOFException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/** Runs a Ring handler for one request after the other and turns what it returns into an answer. */
final class RingHandler {
    private final HttpServer server;
    private final IFn handler;
    private final boolean async;

    RingHandler(HttpServer server, IFn handler, boolean async) {
        this.server = server;
        this.handler = handler;
        this.async = async;
    }

    /**
     * Runs the handler.
     *
     * @return whether {@code out} holds the answer, which the caller sends; otherwise it has been
     *     sent, or will be through the channel or {@code respond}
     */
    boolean handle(RequestBlock block, ResponseWriter out) {
        RequestMap request = new RequestMap(block, server);
        Exchange exchange = new Exchange(block, request);
        if (async) {
            exchange.callAsync();
            return false;
        }
        try {
            return exchange.finish(handler.invoke(request), out);
        } catch (Throwable e) {
            return exchange.fail(e, out);
        }
    }

    /** Throws anything, as user code does. */
    @SuppressWarnings("unchecked")
    private static <E extends Throwable> E sneaky(Throwable e) throws E {
        throw (E) e;
    }

    /** One request and what has become of it. */
    private final class Exchange {
        final RequestBlock block;
        final RequestMap request;
        private final AtomicBoolean answered = new AtomicBoolean();
        /** The answer is a stream of ours: nothing can be sent on the channel any more. */
        private boolean claimed;

        Exchange(RequestBlock block, RequestMap request) {
            this.block = block;
            this.request = request;
        }

        /** Writes what the handler returned; false if there is nothing for the caller to send. */
        boolean finish(Object returned, ResponseWriter out) {
            boolean answered = write(returned, out);
            AsyncChannel channel = request.channelIfMade();
            return channel == null || claimed ? answered : channel.handlerReturned(answered);
        }

        private boolean write(Object returned, ResponseWriter out) {
            Object response = server.upgraded(block, request, returned);
            if (response == null) {
                out.plain(404, "", false);
                server.event(server.events.serverStatus404);
                return true;
            }
            Map<?, ?> map = (Map<?, ?>) response;
            Object body = map.get(ResponseWriter.BODY);
            if (body instanceof AsyncChannel) {
                return false;
            }
            try {
                out.ring(map, server.terms(block));
                boolean whole = out.stream == null || !stream(map, out);
                server.statusEvent(out.status);
                return whole;
            } catch (IOException e) {
                server.logError(describe(), e);
                out.plain(500, String.valueOf(e.getMessage()), false);
                server.event(server.events.serverStatus500);
                return true;
            }
        }

        /**
         * Sends a body that may be long, piece by piece.
         *
         * @return false if it was short after all, and is in {@code out}
         * @throws IOException if it failed before anything was sent
         */
        private boolean stream(Map<?, ?> response, ResponseWriter out) throws IOException {
            Object body = out.stream;
            AsyncChannel channel = request.channelIfMade();
            if (body instanceof File && ((File) body).length() <= server.bodyBufferSize()) {
                out.read(body);
                return false;
            }
            boolean head = block.has(Abi.REQUEST_HEAD);
            if (!(body instanceof File || body instanceof InputStream || body instanceof Seqable)
                    && !server.isStreamable(body)) {
                throw new RuntimeException(body.getClass() + " is not understandable");
            }
            if (channel != null && !channel.handlerReturned(true)) {
                return true;
            }
            claimed = true;
            if (body instanceof File) {
                sendFile((File) body, head, out);
                return true;
            }
            BodyStream stream =
                    new BodyStream(server, block.handle(), out, head, server.bodyBufferSize());
            try {
                if (body instanceof InputStream) {
                    stream.copy((InputStream) body);
                } else if (body instanceof Seqable) {
                    for (ISeq s = RT.seq(body); s != null; s = s.next()) {
                        stream.write(s.first().toString().getBytes(UTF_8));
                    }
                    stream.close();
                } else {
                    server.writeStreamable(body, response, stream);
                    stream.close();
                }
            } catch (Throwable e) {
                streamFailed(stream, e);
            }
            return true;
        }

        private void sendFile(File file, boolean head, ResponseWriter out) throws IOException {
            if (head) {
                out.declareLength(file.length());
                server.answer(block.handle(), out);
                return;
            }
            try {
                BodyStream.file(server, block.handle(), out, file);
            } catch (BodyStream.PeerGoneException e) {
                // Nobody is there to be told, and nothing is wrong here.
            } catch (EOFException e) {
                server.logError(describe(), e);
                Native.abort(block.handle());
            }
        }

        /** After the head has left, the peer must see that the body is cut. */
        private void streamFailed(BodyStream stream, Throwable e) throws IOException {
            if (!stream.hasStarted()) {
                throw RingHandler.<IOException>sneaky(e);
            }
            stream.abort();
            if (!(e instanceof BodyStream.PeerGoneException)) {
                server.logError(describe(), e);
            }
        }

        /** Writes a 500; false if an answer has begun. */
        boolean fail(Throwable e, ResponseWriter out) {
            server.logError(describe(), e);
            AsyncChannel channel = request.channelIfMade();
            if (channel != null && !claimed && !channel.handlerFailed()) {
                return false;
            }
            out.plain(500, messageOf(e), true);
            server.event(server.events.serverStatus500);
            return true;
        }

        /** An exception's message is user code, too. */
        private String messageOf(Throwable e) {
            try {
                String message = e.getMessage();
                return message == null ? "" : message;
            } catch (Throwable inMessage) {
                return "";
            }
        }

        private String describe() {
            return block.methodName() + " " + block.uri();
        }

        void callAsync() {
            IFn respond = once(this::respond);
            IFn raise = once(this::raise);
            try {
                handler.invoke(request, respond, raise);
            } catch (Throwable e) {
                if (answered.compareAndSet(false, true)) {
                    raise(e);
                }
            }
        }

        /** First of respond and raise wins, the rest is silently ignored. */
        private IFn once(java.util.function.Consumer<Object> answer) {
            return new AFn() {
                @Override
                public Object invoke(Object value) {
                    if (answered.compareAndSet(false, true)) {
                        answer.accept(value);
                    }
                    return null;
                }
            };
        }

        private void respond(Object response) {
            ResponseWriter out = server.borrowWriter();
            boolean ready;
            try {
                ready = finish(response, out);
            } catch (Throwable e) {
                ready = fail(e, out);
            }
            send(ready, out);
        }

        private void raise(Object value) {
            Throwable e =
                    value instanceof Throwable
                            ? (Throwable) value
                            : new IllegalArgumentException(
                                    "Ring async raise value must be a Throwable");
            ResponseWriter out = server.borrowWriter();
            send(fail(e, out), out);
        }

        private void send(boolean ready, ResponseWriter out) {
            if (ready) {
                server.answer(block.handle(), out);
            }
            server.giveBack(out);
        }
    }
}
