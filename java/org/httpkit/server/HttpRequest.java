package org.httpkit.server;

import java.io.InputStream;
import java.util.Map;
import org.httpkit.HttpMethod;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Abi;

/** A request, as an {@link IHandler} gets it. */
public class HttpRequest {
    /** Never null: servers answer methods that have no constant with 400. */
    public final HttpMethod method;

    /** The target as sent, up to its first question mark. */
    public final String uri;
    /** What follows the question mark; null without one. */
    public final String queryString;

    public final HttpVersion version;
    /** Names in lower case; values are Strings, repeated ones joined. Not to be changed. */
    public final Map<String, Object> headers;

    final RequestBlock block;
    /** Replaced by {@link AsyncChannel#reset}. */
    volatile AsyncChannel channel;

    private final HttpServer server;
    private volatile boolean channelWanted;

    /**
     * A request that no server has received, without headers, body and channel, for tests of
     * handlers.
     *
     * @param url path and query
     */
    public HttpRequest(HttpMethod method, String url, HttpVersion version) {
        int question = url.indexOf('?');
        this.method = method;
        this.uri = question > 0 ? url.substring(0, question) : url;
        this.queryString = question > 0 ? url.substring(question + 1) : null;
        this.version = version;
        this.headers = Map.of();
        this.block = null;
        this.server = null;
    }

    @SuppressWarnings("unchecked")
    HttpRequest(HttpServer server, RequestBlock block, HttpMethod method, AsyncChannel channel) {
        this.method = method;
        this.uri = block.uri();
        this.queryString = block.queryString();
        this.version = block.has(Abi.REQUEST_HTTP11) ? HttpVersion.HTTP_1_1 : HttpVersion.HTTP_1_0;
        this.headers = (Map<String, Object>) block.headers();
        this.block = block;
        this.server = server;
        this.channel = channel;
    }

    /** @return a stream of its own for each call, a {@link org.httpkit.BytesInputStream}; null without a body */
    public InputStream getBody() {
        return block == null ? null : (InputStream) block.body();
    }

    /**
     * @return the first address of X-Forwarded-For, which clients can forge, or else the peer's;
     *     null on a Unix domain socket
     */
    public String getRemoteAddr() {
        return block == null ? null : block.remoteAddr(server.trustsForwarded());
    }

    /**
     * The channel, for streams and WebSockets. Once it was asked for, a peer that ends its side while
     * the request is unanswered counts as gone; otherwise it still gets its answer.
     */
    public AsyncChannel getChannel() {
        channelWanted = true;
        return channel;
    }

    HttpServer server() {
        return server;
    }

    boolean isChannelWanted() {
        return channelWanted;
    }
}
