package org.httpkit.server;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentHashMap;

import org.httpkit.BytesInputStream;
import org.httpkit.HttpMethod;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Abi;

import java.io.InputStream;
import java.util.Map;

/** A request for an {@link IHandler}. */
public class HttpRequest {
    private static final Keyword REQUEST_METHOD = Keyword.intern(null, "request-method");
    private static final Keyword URI = Keyword.intern(null, "uri");
    private static final Keyword QUERY_STRING = Keyword.intern(null, "query-string");
    private static final Keyword PROTOCOL = Keyword.intern(null, "protocol");
    private static final Keyword SCHEME = Keyword.intern(null, "scheme");
    private static final Keyword HTTP = Keyword.intern(null, "http");
    private static final Keyword HEADERS = Keyword.intern(null, "headers");
    private static final Keyword REMOTE_ADDR = Keyword.intern(null, "remote-addr");
    private static final Keyword BODY = Keyword.intern(null, "body");
    private static final Keyword CONTENT_LENGTH = Keyword.intern(null, "content-length");
    private static final Keyword START_TIME = Keyword.intern(null, "start-time");

    /** Never null: servers respond with 400 to methods that have no constant. */
    public final HttpMethod method;

    /** The target as sent, up to its first question mark. */
    public final String uri;

    /** What follows the question mark; null without one. */
    public final String queryString;

    public final HttpVersion version;

    /**
     * Names in lower case; values are Strings, repeated ones joined. Do not modify the map, see
     * {@link #setHeaders}.
     */
    public volatile Map<String, Object> headers;

    final RequestBlock block;

    /** The server's own: a handler in front of a {@link RingHandler} may pass on another. */
    final RespCallback callback;

    private final HttpServer server;
    private volatile boolean channelWanted;

    /** Whether the setters have replaced them: then a {@link RingHandler} uses the new ones too. */
    private volatile boolean headersSet;

    private volatile BytesInputStream body;
    private volatile Long startTime;

    /**
     * A request that no server has received, without headers, body and channel, for tests of
     * handlers. A {@link RingHandler} makes a Ring request of what is set here.
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
        this.callback = new RespCallback(null);
    }

    /**
     * @param headers names in lower case
     */
    public void setHeaders(Map<String, Object> headers) {
        this.headers = headers;
        this.headersSet = true;
    }

    /**
     * @param count how many bytes of the array are the body
     */
    public void setBody(byte[] body, int count) {
        this.body = new BytesInputStream(body, count);
    }

    /**
     * @param startTime by {@link System#nanoTime}
     */
    public void setStartTime(long startTime) {
        this.startTime = startTime;
    }

    /**
     * @return when the request had arrived, by {@link System#nanoTime}; 0 if unknown
     */
    public long getStartTime() {
        Long set = startTime;
        return set != null ? set : block == null ? 0 : block.startTime();
    }

    /**
     * @return HTTP/1.1 or HTTP/1.0
     */
    public String protocol() {
        return version == HttpVersion.HTTP_1_0 ? "HTTP/1.0" : "HTTP/1.1";
    }

    /**
     * @return the Ring request, if no server has received this one
     */
    IPersistentMap madeByHand() {
        return replaceIn(
                PersistentHashMap.EMPTY
                        .assoc(REQUEST_METHOD, method.KEY)
                        .assoc(URI, uri)
                        .assoc(QUERY_STRING, queryString)
                        .assoc(PROTOCOL, protocol())
                        .assoc(SCHEME, HTTP)
                        .assoc(HEADERS, PersistentHashMap.create(headers)));
    }

    /**
     * @return a Ring request in which values set here replace the received ones
     */
    IPersistentMap replaceIn(IPersistentMap request) {
        IPersistentMap map = request;
        if (headersSet) {
            map =
                    map.assoc(HEADERS, PersistentHashMap.create(headers))
                            .assoc(REMOTE_ADDR, getRemoteAddr());
        }
        BytesInputStream given = body;
        if (given != null) {
            map = map.assoc(BODY, getBody()).assoc(CONTENT_LENGTH, given.getCount());
        }
        return startTime == null ? map : map.assoc(START_TIME, startTime);
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
        this.callback = new RespCallback(channel);
    }

    /**
     * @return a new stream for each call, a {@link org.httpkit.BytesInputStream}; null without a
     *     body
     */
    public InputStream getBody() {
        BytesInputStream given = body;
        if (given != null) {
            byte[] bytes = given.bytes();
            return new BytesInputStream(bytes, bytes.length);
        }
        return block == null ? null : (InputStream) block.body();
    }

    /**
     * @return the first address of X-Forwarded-For, which clients can forge, or else the peer's;
     *     null on a Unix domain socket
     */
    public String getRemoteAddr() {
        boolean trusted = server == null || server.options.trustForwarded;
        if (headersSet && trusted) {
            String forwarded = HttpUtils.getStringValue(headers, HttpUtils.X_FORWARDED_FOR);
            if (forwarded != null) {
                return forwarded.split(",", 2)[0];
            }
        }
        return block == null ? null : block.remoteAddr(trusted && !headersSet);
    }

    /**
     * The channel, for streams and WebSockets. After this call, a peer that half-closes before its
     * response has begun counts as disconnected; otherwise it still gets its response.
     */
    public AsyncChannel getChannel() {
        channelWanted = true;
        return channel();
    }

    /** Null if it was made by hand. */
    AsyncChannel channel() {
        return callback.channel;
    }

    /**
     * @return what TLS agreed on; null without TLS, if it ends at a proxy, or after the response
     */
    public TlsSession getTlsSession() {
        return block == null || !block.has(Abi.REQUEST_TLS) ? null : TlsSession.of(block.handle());
    }

    HttpServer server() {
        return server;
    }

    boolean isChannelWanted() {
        return channelWanted;
    }
}
