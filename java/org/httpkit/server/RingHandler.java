package org.httpkit.server;

import clojure.lang.AFn;
import clojure.lang.IFn;
import java.io.IOException;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
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
        boolean answered;
        try {
            answered = exchange.write(handler.invoke(request), out);
        } catch (Throwable e) {
            answered = exchange.fail(e, out);
        }
        AsyncChannel channel = request.channelIfMade();
        if (channel != null) {
            answered = channel.handlerReturned(answered);
        }
        return answered;
    }

    /** One request and what has become of it. */
    private final class Exchange {
        final RequestBlock block;
        final RequestMap request;
        private final AtomicBoolean answered = new AtomicBoolean();

        Exchange(RequestBlock block, RequestMap request) {
            this.block = block;
            this.request = request;
        }

        /** Writes a returned response; false if the channel answers. */
        boolean write(Object response, ResponseWriter out) {
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
                server.statusEvent(out.status);
            } catch (IOException e) {
                server.logError(describe(), e);
                out.plain(500, String.valueOf(e.getMessage()), false);
                server.event(server.events.serverStatus500);
            }
            return true;
        }

        /** Writes a 500; false if the channel has sent something and the connection was cut. */
        boolean fail(Throwable e, ResponseWriter out) {
            server.logError(describe(), e);
            AsyncChannel channel = request.channelIfMade();
            if (channel != null && channel.abortIfStarted()) {
                return false;
            }
            String message = e.getMessage();
            out.plain(500, message == null ? "" : message, true);
            server.event(server.events.serverStatus500);
            return true;
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
                ready = write(server.upgraded(request, response), out);
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
                AsyncChannel channel = request.channelIfMade();
                if (channel == null || channel.handlerReturned(true)) {
                    server.answer(block.handle(), out);
                }
            }
            server.giveBack(out);
        }
    }
}
