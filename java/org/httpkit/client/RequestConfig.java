package org.httpkit.client;

import org.httpkit.HttpMethod;

import java.util.LinkedHashMap;
import java.util.Map;

/** Everything about one request except its URL. Times in milliseconds. */
public class RequestConfig {
    /** Sent when a request names no User-Agent; read for each request. */
    public static String DEFAULT_USER_AGENT = "http-kit/2.0";

    private static final int MINUTE = 60_000;

    private final HttpMethod method;
    private String methodName;
    final Object body;
    final int connectTimeout;
    final int idleTimeout;
    final int keepAlive;
    final String proxyUrl;
    final boolean tunnel;
    final boolean autoCompression;
    final boolean insecure;
    private Map<String, Object> headers;

    int deadline = -1;
    long deadlineAt;
    int poolTimeout = -1;
    long maxResponseBytes = -1;
    boolean chunked;
    boolean proxyTunnel;

    /**
     * GET with the documented defaults: a minute to connect, a minute of silence, two minutes kept
     * alive.
     */
    public RequestConfig() {
        this(HttpMethod.GET, null, null, MINUTE, MINUTE, 2 * MINUTE, null, false, true);
    }

    /** As the constructor with ten arguments, certificates verified. */
    public RequestConfig(
            HttpMethod method,
            Map<String, Object> headers,
            Object body,
            int connectTimeout,
            int idleTimeout,
            int keepAlive,
            String proxyUrl,
            boolean tunnel,
            boolean autoCompression) {
        this(
                method,
                headers,
                body,
                connectTimeout,
                idleTimeout,
                keepAlive,
                proxyUrl,
                tunnel,
                autoCompression,
                false);
    }

    /**
     * @param headers name to value in the order to send; null for none
     * @param body null, String, byte[], ByteBuffer, File, InputStream or Seqable
     * @param connectTimeout from submission to connected
     * @param idleTimeout longest silence once connected
     * @param keepAlive how long the connection may idle afterwards; 0 or less: neither taken from
     *     nor returned to the pool
     * @param proxyUrl null for none
     * @param tunnel refused together with a proxy; see {@link #proxyTunnel}
     * @param autoCompression ask for gzip and deflate
     * @param insecure accept any certificate for any host
     */
    public RequestConfig(
            HttpMethod method,
            Map<String, Object> headers,
            Object body,
            int connectTimeout,
            int idleTimeout,
            int keepAlive,
            String proxyUrl,
            boolean tunnel,
            boolean autoCompression,
            boolean insecure) {
        this.method = method == null ? HttpMethod.GET : method;
        methodName = this.method.name();
        this.headers = headers;
        this.body = body;
        this.connectTimeout = connectTimeout;
        this.idleTimeout = idleTimeout;
        this.keepAlive = keepAlive;
        this.proxyUrl = proxyUrl;
        this.tunnel = tunnel;
        this.autoCompression = autoCompression;
        this.insecure = insecure;
    }

    /** Null for a {@link #method} without a constant. */
    public HttpMethod getMethod() {
        return method.name().equals(methodName) ? method : null;
    }

    String methodName() {
        return methodName;
    }

    /**
     * Replaces the method, even by one without a constant: a token (RFC 9110 9.1), case-sensitive.
     */
    public RequestConfig method(String name) {
        methodName = name;
        return this;
    }

    /** Adds or replaces a header; the map given to the constructor is not changed. */
    public void setHeader(String name, Object value) {
        Map<String, Object> copy = new LinkedHashMap<>();
        if (headers != null) {
            copy.putAll(headers);
        }
        copy.put(name, value);
        headers = copy;
    }

    Map<String, Object> headers() {
        return headers;
    }

    /**
     * Limits the time of the whole request, DNS included.
     *
     * @param totalMillis the user's number, named in the error
     * @param atNanos when it ends, in {@link System#nanoTime} terms
     */
    public RequestConfig deadline(int totalMillis, long atNanos) {
        deadline = totalMillis;
        deadlineAt = atNanos;
        return this;
    }

    /**
     * Limits the wait for a free connection under the client's limits; if negative, only the
     * connect timeout applies.
     */
    public RequestConfig poolTimeout(int millis) {
        poolTimeout = millis;
        return this;
    }

    /**
     * Limits the response body, in bytes as handed out, decompressed or raw; a longer one fails
     * with a ContentTooLargeException. Negative: as much as the heap has room for, except for
     * streams without a filter.
     */
    public RequestConfig maxResponseBytes(long bytes) {
        maxResponseBytes = bytes;
        return this;
    }

    /** Sends the body with chunked transfer coding, reading it while sending. */
    public RequestConfig chunked(boolean on) {
        chunked = on;
        return this;
    }

    /**
     * Tunnels through the proxy (CONNECT, or SOCKS5 for a socks5 URL): end-to-end TLS for https.
     */
    public RequestConfig proxyTunnel(boolean on) {
        proxyTunnel = on;
        return this;
    }
}
