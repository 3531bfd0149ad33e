package org.httpkit.server;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;

import org.httpkit.HeaderMap;
import org.httpkit.HttpUtils;

import java.util.Map;

/** One request to which a {@link RingHandler} responds through a callback. */
final class RingCall extends AsyncCall implements Runnable {
    private static final Keyword ASYNC_CHANNEL = Keyword.intern(null, "async-channel");

    private final RingHandler ring;
    private final HttpRequest request;
    private final RingReply reply;

    RingCall(RingHandler ring, HttpRequest request, RingReply reply) {
        this.ring = ring;
        this.request = request;
        this.reply = reply;
    }

    @Override
    public void run() {
        try {
            if (ring.ringAsync) {
                callAsync(ring.handler, requestMap());
            } else {
                response = ring.handler.invoke(requestMap());
                respond();
            }
        } catch (Throwable e) {
            lost(e);
        }
    }

    private IPersistentMap requestMap() {
        if (request.block == null) {
            return request.madeByHand();
        }
        IPersistentMap map = new RequestMap(request.block, request.server());
        return request.replaceIn(map.assoc(ASYNC_CHANNEL, request.channel()));
    }

    @Override
    void raised(Throwable e) {
        lost(e);
    }

    @Override
    @SuppressWarnings("unchecked")
    void respond() {
        if (response == null) {
            reply.send(404, new HeaderMap(), null);
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
        int status = StatusCodes.of(given);
        if (StatusCodes.isIgnored(given) && request.server() != null) {
            request.server()
                    .responseWarnings
                    .ignoredStatus(request.method + " " + request.uri, given);
        }
        Map<?, ?> headers = (Map<?, ?>) map.get(ResponseWriter.HEADERS);
        if (headers != null) {
            headers.keySet().forEach(ResponseWriter::name);
        }
        reply.send(status, HeaderMap.camelCase((Map<String, Object>) headers), body);
        ring.event(ring.eventNames.serverStatusPrefix + status);
    }

    @Override
    void lost(Throwable e) {
        try {
            ring.logError(request.method + " " + request.uri, e);
            if (request.channel() != null && request.channel().isStreaming()) {
                request.channel().abort(); // the peer must see that the response is cut
                return;
            }
            reply.send(500, RingReply.plainText(), HttpUtils.messageOf(e));
            ring.event(ring.eventNames.serverStatus500);
        } catch (Throwable failure) {
            if (request.channel() != null) {
                request.channel().abort();
            }
            ring.logError(ServerLog.WORKER, failure);
        }
    }
}
