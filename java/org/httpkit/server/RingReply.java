package org.httpkit.server;

import org.httpkit.HeaderMap;
import org.httpkit.HttpMethod;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;

/**
 * How a {@link RingHandler} responds through a request's callback. Does not hold the request: its
 * body may be large, and a pool may have dropped it.
 */
final class RingReply {
    private final RingHandler ring;
    private final RespCallback callback;
    private final boolean head;
    private final boolean endsConnection;
    private final boolean keepsHttp10;

    RingReply(RingHandler ring, HttpRequest request, RespCallback callback) {
        this.ring = ring;
        this.callback = callback;
        this.head = request.method == HttpMethod.HEAD;
        this.endsConnection = request.block != null && request.block.endsConnection();
        this.keepsHttp10 =
                request.version == HttpVersion.HTTP_1_0
                        && "keep-alive"
                                .equalsIgnoreCase((String) request.headers.get("connection"));
    }

    void send(int status, HeaderMap headers, Object body) {
        if (endsConnection) {
            headers.putOrReplace("Connection", "Close");
        } else if (keepsHttp10 && !headers.containsKey("Connection")) {
            headers.put("Connection", "Keep-Alive");
        }
        callback.run(
                HttpUtils.HttpEncode(
                        status, headers, body, ring.serverHeader, ring.legacyContentLength, head));
    }

    /** Nothing runs the handler: responds as the core does then. */
    void unavailable() {
        HeaderMap headers = plainText();
        headers.put("Retry-After", "1");
        send(503, headers, "Server unavailable, please try again");
    }

    static HeaderMap plainText() {
        HeaderMap headers = new HeaderMap();
        headers.put("Content-Type", "text/plain; charset=utf-8");
        return headers;
    }
}
