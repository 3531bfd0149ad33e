package org.httpkit.server;

import clojure.lang.AFn;
import clojure.lang.IFn;
import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import java.util.Map;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import org.httpkit.HeaderMap;
import org.httpkit.HttpMethod;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;

/** One request that a {@link RingHandler} answers through a callback. */
final class RingCall implements Runnable {
    private static final Keyword ASYNC_CHANNEL = Keyword.intern(null, "async-channel");

    private final RingHandler ring;
    private final HttpRequest request;
    private final RespCallback callback;
    private final AtomicBoolean answered = new AtomicBoolean();

    RingCall(RingHandler ring, HttpRequest request, RespCallback callback) {
        this.ring = ring;
        this.request = request;
        this.callback = callback;
    }

    @Override
    public void run() {
        try {
            if (ring.ringAsync) {
                ring.handler.invoke(requestMap(), once(this::respond), once(this::raise));
            } else {
                respond(ring.handler.invoke(requestMap()));
            }
        } catch (Throwable e) {
            if (!ring.ringAsync || answered.compareAndSet(false, true)) {
                fail(e);
            }
        }
    }

    private IPersistentMap requestMap() {
        if (request.block == null) {
            throw new IllegalArgumentException("no server has received this request");
        }
        IPersistentMap map = new RequestMap(request.block, request.server());
        return request.replaceIn(map.assoc(ASYNC_CHANNEL, request.channel));
    }

    /** First of respond and raise wins, the rest is silently ignored. */
    private IFn once(Consumer<Object> answer) {
        return new AFn() {
            @Override
            public Object invoke(Object value) {
                if (answered.compareAndSet(false, true)) {
                    try {
                        answer.accept(value);
                    } catch (Throwable e) {
                        fail(e);
                    }
                }
                return null;
            }
        };
    }

    private void raise(Object value) {
        fail(
                value instanceof Throwable
                        ? (Throwable) value
                        : new IllegalArgumentException("Ring async raise value must be a Throwable"));
    }

    @SuppressWarnings("unchecked")
    private void respond(Object response) {
        if (response == null) {
            send(404, new HeaderMap(), null);
            ring.event(ring.eventNames.serverStatus404);
            if (request.server() != null) {
                request.server().responseWarnings.noResponse(request.method + " " + request.uri);
            }
            return;
        }
        Map<?, ?> map = ResponseWriter.map(response);
        Object body = map.get(ResponseWriter.BODY);
        if (body instanceof AsyncChannel) {
            ((AsyncChannel) body).handlerReturned(false);
            return;
        }
        Object given = map.get(ResponseWriter.STATUS);
        int status = ResponseWriter.status(given);
        if (ResponseWriter.isIgnored(given) && request.server() != null) {
            request.server().responseWarnings.ignoredStatus(request.method + " " + request.uri, given);
        }
        Map<?, ?> headers = (Map<?, ?>) map.get(ResponseWriter.HEADERS);
        if (headers != null) {
            headers.keySet().forEach(ResponseWriter::name);
        }
        send(status, HeaderMap.camelCase((Map<String, Object>) headers), body);
        ring.event(ring.eventNames.serverStatusPrefix + status);
    }

    private void send(int status, HeaderMap headers, Object body) {
        if (request.block != null && request.block.endsConnection()) {
            headers.putOrReplace("Connection", "Close");
        } else if (keepsHttp10() && !headers.containsKey("Connection")) {
            headers.put("Connection", "Keep-Alive");
        }
        boolean head = request.method == HttpMethod.HEAD;
        callback.run(HttpUtils.HttpEncode(status, headers, body, ring.serverHeader, ring.legacyContentLength, head));
    }

    private boolean keepsHttp10() {
        return request.version == HttpVersion.HTTP_1_0
                && "keep-alive".equalsIgnoreCase((String) request.headers.get("connection"));
    }

    /** A plain answer of the server's own. */
    void plain(int status, String text) {
        HeaderMap headers = new HeaderMap();
        headers.put("Content-Type", "text/plain; charset=utf-8");
        send(status, headers, text);
    }

    private void fail(Throwable e) {
        try {
            ring.logError(request.method + " " + request.uri, e);
            if (request.channel != null && request.channel.isStreaming()) {
                request.channel.abort(); // the peer must see that the answer is cut
                return;
            }
            plain(500, HttpUtils.messageOf(e));
            ring.event(ring.eventNames.serverStatus500);
        } catch (Throwable noAnswer) {
            if (request.channel != null) {
                request.channel.abort();
            }
            ring.logError("worker", noAnswer);
        }
    }
}
