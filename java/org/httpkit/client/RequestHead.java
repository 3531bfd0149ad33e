package org.httpkit.client;

import clojure.lang.ISeq;
import clojure.lang.RT;

import org.httpkit.HeaderMap;
import org.httpkit.HeaderValues;
import org.httpkit.HttpUtils;
import org.httpkit.ProtocolException;
import org.httpkit.jni.Abi;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.Map;

/**
 * Writes request heads (RFC 9112 3, 5): the user's headers in their order, then missing ones.
 *
 * <p>Nothing that could split a head is accepted: names are tokens, values contain no control
 * characters, and only we write headers that frame the message.
 */
final class RequestHead {
    private final Route route;
    private final RequestConfig config;
    private final RequestBody body;

    private byte[] bytes = new byte[512];
    private int length;
    private boolean host;
    private boolean userAgent;
    private boolean acceptEncoding;
    private boolean contentLength;
    private boolean proxyConnection;

    /** Even without a value: then the proxy's URL does not give one either. */
    private boolean userProxyAuthorization;

    private String proxyAuthorization;

    private RequestHead(Route route, RequestConfig config, RequestBody body) {
        this.route = route;
        this.config = config;
        this.body = body;
    }

    /**
     * The head, empty line included.
     *
     * @throws IllegalArgumentException for names and values that are not HTTP
     * @throws ProtocolException for headers that contradict the framing
     */
    static RequestHead of(Route route, RequestConfig config, RequestBody body)
            throws ProtocolException {
        RequestHead head = new RequestHead(route, config, body);
        head.startLine();
        if (config.headers() != null) {
            for (Map.Entry<?, ?> header : config.headers().entrySet()) {
                String name = HeaderValues.name("request", header.getKey());
                head.userHeader(HttpUtils.camelCase(name), header.getValue());
            }
        }
        head.missing();
        head.put("\r\n");
        return head;
    }

    byte[] bytes() {
        return Arrays.copyOf(bytes, length);
    }

    /**
     * For the CONNECT of a tunnel: the user's header, else the proxy URL's userinfo; null for none.
     */
    String proxyAuthorization() {
        return userProxyAuthorization ? proxyAuthorization : route.proxyAuthorization();
    }

    private void startLine() {
        if (!HttpUtils.isToken(config.methodName())) {
            throw new IllegalArgumentException("Invalid HTTP method: " + config.methodName());
        }
        put(config.methodName());
        put(" ");
        put(route.target());
        put(" HTTP/1.1\r\n");
    }

    private void userHeader(String name, Object value) throws ProtocolException {
        HeaderMap.checkName(name);
        switch (name) {
            case "Host":
                host = only(name, value, host);
                break;
            case "Content-Length":
                contentLength = only(name, value, contentLength);
                userContentLength(value);
                return;
            case "Transfer-Encoding":
                refuseTransferEncoding(value);
                return;
            case "User-Agent":
                userAgent = true;
                break;
            case "Accept-Encoding":
                acceptEncoding = true;
                break;
            case "Proxy-Connection":
                proxyConnection = true;
                break;
            case "Proxy-Authorization":
                proxyAuthorization(value);
                return;
            default:
                break;
        }
        lines(name, value);
    }

    private void lines(String name, Object value) {
        if (HeaderValues.hasElements(value)) {
            for (ISeq s = RT.seq(value); s != null; s = s.next()) {
                line(name, s.first());
            }
        } else {
            line(name, value);
        }
    }

    private void line(String name, Object value) {
        if (value != null) {
            String text = text(name, value);
            put(name);
            put(": ");
            put(text);
            put("\r\n");
        }
    }

    private static String text(String name, Object value) {
        return HeaderMap.checkValue(name, HeaderValues.text(name, value));
    }

    /** The one value of a header that must have exactly one. */
    private static boolean only(String name, Object value, boolean before)
            throws ProtocolException {
        if (before) {
            throw new ProtocolException("Duplicate request header: " + name);
        }
        if (HeaderValues.single(value) == null) {
            throw new ProtocolException("Request header must have one value: " + name);
        }
        return true;
    }

    // Its position is kept; its number is used only without a body.
    private void userContentLength(Object value) throws ProtocolException {
        if (body != null) {
            writeBodyLength();
            return;
        }
        String digits = HeaderValues.single(value).toString();
        if (!digits.matches("[0-9]+")) {
            throw new ProtocolException("Invalid Content-Length: " + digits);
        }
        if (!digits.matches("0+")) {
            throw new ProtocolException("Content-Length without a request body must be 0");
        }
        line("Content-Length", digits);
    }

    private static void refuseTransferEncoding(Object value) throws ProtocolException {
        if (value != null && !(HeaderValues.hasElements(value) && RT.seq(value) == null)) {
            throw new ProtocolException(
                    "Chunked request bodies are not supported as a header (:chunked? true sends"
                            + " one)");
        }
    }

    // They are for the proxy (RFC 9110 11.7): not for a target, nor for one behind a tunnel.
    private void proxyAuthorization(Object value) throws ProtocolException {
        userProxyAuthorization = true;
        if (route.absoluteForm()) {
            lines("Proxy-Authorization", value);
        } else if (HeaderValues.hasElements(value)) {
            for (ISeq s = RT.seq(value); s != null; s = s.next()) {
                tunnelAuthorization(s.first());
            }
        } else {
            tunnelAuthorization(value);
        }
    }

    private void tunnelAuthorization(Object value) throws ProtocolException {
        if (value != null) {
            String text = text("Proxy-Authorization", value);
            if (proxyAuthorization != null && route.kind == Abi.ROUTE_TUNNEL) {
                throw new ProtocolException(
                        "Request header must have one value: Proxy-Authorization");
            }
            proxyAuthorization = text;
        }
    }

    private void missing() {
        if (!host) {
            line("Host", HttpUtils.getHost(route.uri));
        }
        if (!userAgent) {
            line("User-Agent", RequestConfig.DEFAULT_USER_AGENT);
        }
        if (!acceptEncoding && config.autoCompression) {
            line("Accept-Encoding", "gzip, deflate");
        }
        if (route.absoluteForm()) {
            if (!proxyConnection) {
                line("Proxy-Connection", "Keep-Alive");
            }
            if (!userProxyAuthorization) {
                line("Proxy-Authorization", route.proxyAuthorization());
            }
        }
        if (body != null && !contentLength) {
            writeBodyLength();
        }
    }

    private void writeBodyLength() {
        if (body.length() >= 0) {
            line("Content-Length", body.length());
        } else {
            line("Transfer-Encoding", "chunked");
        }
    }

    private void put(String text) {
        int n = text.length();
        ensure(n);
        for (int i = 0; i < n; i++) {
            char c = text.charAt(i);
            if (c >= 0x80) {
                putUtf8(text.substring(i));
                return;
            }
            bytes[length++] = (byte) c;
        }
    }

    private void putUtf8(String text) {
        byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
        ensure(encoded.length);
        System.arraycopy(encoded, 0, bytes, length, encoded.length);
        length += encoded.length;
    }

    private void ensure(int more) {
        if (bytes.length - length < more) {
            bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, length + more));
        }
    }
}
