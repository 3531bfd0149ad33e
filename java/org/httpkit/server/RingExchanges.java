package org.httpkit.server;

import clojure.lang.IFn;
import clojure.lang.RT;
import clojure.lang.Seqable;

import org.httpkit.FilePart;
import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.util.Map;

/** Runs a Ring handler for each request, and turns its result into a response. */
final class RingExchanges {
    private final HttpServer server;
    private final IFn handler;
    private final boolean async;

    RingExchanges(HttpServer server, IFn handler, boolean async) {
        this.server = server;
        this.handler = handler;
        this.async = async;
    }

    /**
     * Runs the handler.
     *
     * @return whether {@code out} holds the response, for the caller to send; otherwise it has been
     *     sent, or will be, through the channel or {@code respond}
     */
    boolean handle(RequestBlock block, ResponseWriter out) {
        if (server.handlerThreads == null) {
            return call(block, out);
        }
        HandlerThreads.Call call = server.handlerThreads.begin(block.handle());
        try {
            return call(block, out);
        } finally {
            call.end();
        }
    }

    private boolean call(RequestBlock block, ResponseWriter out) {
        RequestMap request = new RequestMap(block, server);
        Exchange exchange = new Exchange(block, request);
        if (async) {
            exchange.callAsync(handler, request);
            return false;
        }
        try {
            exchange.response = handler.invoke(request);
            return exchange.finish(out);
        } catch (Throwable e) {
            return exchange.fail(e, out);
        }
    }

    /** Logs an exception of a handler or its body, and writes a 500 for it. */
    static void failed(HttpServer server, String about, Throwable e, ResponseWriter out) {
        server.log.error(about, e);
        out.plain(500, server.errorText(HttpUtils.messageOf(e)), true);
        server.log.event(server.log.events.serverStatus500);
    }

    /** As {@link #failed}, for a body that cannot be read. */
    static void unreadable(HttpServer server, String about, IOException e, ResponseWriter out) {
        server.log.error(about, e);
        out.plain(500, server.errorText(HttpUtils.unreadableMessage(e)), false);
        server.log.event(server.log.events.serverStatus500);
    }

    /** Throws any exception, as user code may. */
    @SuppressWarnings("unchecked")
    static <E extends Throwable> E sneaky(Throwable e) throws E {
        throw (E) e;
    }

    /** One request and its response. */
    private final class Exchange extends AsyncCall {
        final RequestBlock block;
        final RequestMap request;

        /** We stream the response: nothing more can be sent on the channel. */
        private boolean claimed;

        /** The handler has returned what is to be sent: what fails from now on is not its call. */
        private boolean returned;

        Exchange(RequestBlock block, RequestMap request) {
            this.block = block;
            this.request = request;
        }

        /** Writes the handler's result; false if there is nothing for the caller to send. */
        boolean finish(ResponseWriter out) {
            boolean responds = write(out);
            if (claimed) {
                return responds;
            }
            AsyncChannel channel = responds ? request.takeResponse() : request.channelIfMade();
            boolean sends = channel == null ? responds : channel.handlerReturned(responds);
            if (sends) {
                responding();
            }
            return sends;
        }

        private void responding() {
            RequestBodyStream upload = request.bodyStream();
            if (upload != null) {
                upload.responding();
            }
        }

        private boolean write(ResponseWriter out) {
            response = upgraded();
            returned = true;
            if (response == null) {
                out.plain(404, "", false);
                server.log.event(server.log.events.serverStatus404);
                server.responseWarnings.noResponse(describe());
                return true;
            }
            try {
                if (!writeHead(ResponseWriter.map(response), out)) {
                    return false;
                }
                if (out.stream != null) {
                    return stream(out);
                }
                server.log.status(out.status);
                return true;
            } catch (IOException e) {
                if (statusFor(e) >= 0) {
                    return request.bodyStream().refuse(out);
                }
                unreadable(server, describe(), e, out);
                return true;
            }
        }

        /** See {@link RequestBodyStream#statusFor}. */
        private int statusFor(Throwable e) {
            RequestBodyStream upload = request.bodyStream();
            return upload == null ? -1 : upload.statusFor(e);
        }

        /**
         * @return false if the response goes through the channel
         */
        private boolean writeHead(Map<?, ?> response, ResponseWriter out) throws IOException {
            Object body = response.get(ResponseWriter.BODY);
            if (body instanceof AsyncChannel) {
                return false;
            }
            try {
                out.ring(response, server.terms(block));
                if (out.ignoredStatus != null) {
                    server.responseWarnings.ignoredStatus(describe(), out.ignoredStatus);
                }
                return true;
            } catch (Throwable e) {
                discard(body);
                throw e;
            }
        }

        /** Closes a body that will not be read. */
        private void discard(Object body) {
            try {
                if (body instanceof InputStream) {
                    ((InputStream) body).close();
                }
            } catch (IOException e) {
                server.log.error(describe(), e);
            }
        }

        /**
         * Sends a body that may be long, piece by piece.
         *
         * @return whether it was short after all, and is in {@code out}
         * @throws IOException if it failed before anything was sent
         */
        private boolean stream(ResponseWriter out) throws IOException {
            FilePart file = Responses.file(out.stream);
            if (file != null && Responses.readsFile(server, out, file.length())) {
                out.read(out.stream);
                server.log.status(out.status);
                return true;
            }
            requireBody(out.stream);
            AsyncChannel channel = request.takeResponse();
            if (channel != null && !channel.handlerReturned(true)) {
                discard(out.stream);
                server.log.status(out.status);
                return false;
            }
            claimed = true;
            if (file != null) {
                responding();
                Responses.sendFile(block.handle(), out, file, block.has(Abi.REQUEST_HEAD));
                server.log.status(out.status);
                return false;
            }
            return sendStream(out);
        }

        private boolean isOurs(Object body) {
            return (body instanceof File
                            || body instanceof FilePart
                            || body instanceof InputStream
                            || body instanceof Seqable)
                    && !is(server.options.streamsItself, body);
        }

        /** Turns a Ring WebSocket response into one whose body is the channel. */
        private Object upgraded() {
            IFn upgrade = server.options.upgrade;
            return upgrade == null || !block.has(Abi.REQUEST_UPGRADE)
                    ? response
                    : upgrade.invoke(request, response);
        }

        /** Whether Ring's protocol knows how to write this body. */
        private boolean isStreamable(Object body) {
            return is(server.options.streamable, body);
        }

        private boolean is(IFn test, Object body) {
            return test != null && RT.booleanCast(test.invoke(body));
        }

        private void requireBody(Object body) throws IOException {
            if (!isOurs(body) && !isStreamable(body)) {
                HttpUtils.bodyBuffer(body); // throws, and names what can be sent
            }
        }

        /**
         * Sends a body of unknown length. The first part is sent on this thread if that can block
         * only on the body's source; the rest is sent on a thread of its own.
         *
         * @return whether {@code out} holds the whole body
         */
        private boolean sendStream(ResponseWriter out) throws IOException {
            Object content = out.takeStream();
            boolean apart = async || !isOurs(content) || out.isEventStream();
            ResponseWriter own = apart ? out.headCopy() : out;
            OpenBody body =
                    new OpenBody(
                            server,
                            block.handle(),
                            own,
                            block.has(Abi.REQUEST_HEAD),
                            request.bodyStream());
            if (out.isEventStream()) {
                body.start(); // a listening peer wants to see that it is connected
            }
            if (!isOurs(content)) {
                new BodyWriter(body, own, content, response, async).start(describe());
                return false;
            }
            response = null;
            BodyPump pump = new BodyPump(body, own, BodySource.of(content));
            content = null;
            BodyPump.Begun begun = apart ? BodyPump.Begun.STREAMING : begin(pump);
            if (begun == BodyPump.Begun.STREAMING) {
                pump.start(describe());
            }
            return begun == BodyPump.Begun.WHOLE;
        }

        private BodyPump.Begun begin(BodyPump pump) throws IOException {
            try {
                return pump.begin();
            } catch (Throwable e) {
                if (!(e instanceof BodyTask.PeerGoneException)) {
                    if (pump.body.takeBack()) {
                        throw RingExchanges.<IOException>sneaky(e);
                    }
                    if (statusFor(e) < 0) {
                        server.log.error(describe(), e);
                    }
                }
                pump.body.cut();
                return BodyPump.Begun.SENT;
            }
        }

        /** Writes a 500; false if a response has begun. */
        boolean fail(Throwable e, ResponseWriter out) {
            int status = statusFor(e);
            if (status != 0) {
                responding();
            }
            AsyncChannel channel = claimed ? null : request.takeResponse();
            if (channel != null && !takesToFail(channel, status)) {
                if (status < 0) {
                    server.log.error(describe(), e);
                }
                return false;
            }
            if (status < 0) {
                failed(server, describe(), e, out);
                return true;
            }
            return request.bodyStream().refuse(out);
        }

        private boolean takesToFail(AsyncChannel channel, int status) {
            return returned || status > 0 ? channel.responseFailed() : channel.handlerFailed();
        }

        private String describe() {
            return block.methodName() + " " + block.uri();
        }

        @Override
        void respond() {
            ResponseWriter out = server.writers.borrow();
            boolean ready;
            try {
                ready = finish(out);
            } catch (Throwable e) {
                ready = fail(e, out);
            }
            send(ready, out);
        }

        @Override
        void raised(Throwable e) {
            ResponseWriter out = server.writers.borrow();
            send(fail(e, out), out);
        }

        @Override
        void lost(Throwable e) {
            Native.abandon(block.handle());
            server.log.error(ServerLog.WORKER, e);
        }

        private void send(boolean ready, ResponseWriter out) {
            if (ready) {
                Responses.send(block.handle(), out);
            }
            server.writers.giveBack(out);
        }
    }
}
