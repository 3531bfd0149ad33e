package org.httpkit.server;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentTreeMap;

import org.httpkit.BytesInputStream;
import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.AddressRecord;
import org.httpkit.jni.Native;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * A request as the native side hands it over: one array with offsets into itself (the layout is in
 * {@code rust/core/src/server/request.rs}). Each value is computed on demand.
 */
final class RequestBlock {
    private static final VarHandle LONG =
            MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INT =
            MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle SHORT =
            MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);

    private static final int ENTRY = 16;
    private static final int ACCEPT_ENCODING =
            Arrays.asList(HeaderNames.KNOWN).indexOf("accept-encoding");
    private static final int DEFAULT_PORT = 80;
    private static final int DEFAULT_TLS_PORT = 443;

    /**
     * Header lines up to which the header map is an array map, as in http-kit; beyond that, a tree.
     */
    private static final int ARRAY_MAP = 64;

    /** {@code System.nanoTime} at the native clock's zero. */
    private static final long CLOCK = System.nanoTime() - Native.clock();

    /** The native side's own table, so that the two cannot differ. */
    private static final String[] METHOD_NAMES = Native.knownMethods().split("\n");

    private static final Keyword[] METHODS = methods();

    private final byte[] block;

    RequestBlock(byte[] block) {
        this.block = block;
    }

    private static Keyword[] methods() {
        Keyword[] keywords = new Keyword[METHOD_NAMES.length];
        for (int i = 0; i < keywords.length; i++) {
            keywords[i] = keyword(METHOD_NAMES[i]);
        }
        return keywords;
    }

    private static Keyword keyword(String method) {
        return Keyword.intern(method.toLowerCase(Locale.ROOT));
    }

    static long handle(byte[] block) {
        return (long) LONG.get(block, 0);
    }

    static int kind(byte[] block) {
        return block[8];
    }

    static int readInt(byte[] block, int at) {
        return (int) INT.get(block, at);
    }

    long handle() {
        return handle(block);
    }

    boolean has(int flag) {
        return (block[10] & flag) != 0;
    }

    private int at(int offset) {
        return (int) INT.get(block, offset);
    }

    private int shortAt(int offset) {
        return (short) SHORT.get(block, offset) & 0xffff;
    }

    private String text(int start, int length) {
        return new String(block, start, length, ISO_8859_1);
    }

    /** As sent, for log lines. */
    String methodName() {
        int index = block[9] & 0xff;
        return index < METHODS.length ? METHOD_NAMES[index] : text(at(24), at(28));
    }

    Keyword method() {
        int index = block[9] & 0xff;
        return index < METHODS.length ? METHODS[index] : keyword(text(at(24), at(28)));
    }

    private String target() {
        return text(at(32), at(36));
    }

    String uri() {
        String target = target();
        int question = target.indexOf('?');
        return question > 0 ? target.substring(0, question) : target;
    }

    String queryString() {
        String target = target();
        int question = target.indexOf('?');
        return question > 0 ? target.substring(question + 1) : null;
    }

    String protocol() {
        return has(Abi.REQUEST_HTTP11) ? "HTTP/1.1" : "HTTP/1.0";
    }

    /** Of a body that has come with the request; of a stream, the declared length or null. */
    Object contentLength() {
        if (has(Abi.REQUEST_STREAMED)) {
            long length = wholeLength();
            return length < 0 ? null : (Object) length;
        }
        return at(44);
    }

    private long wholeLength() {
        return (long) LONG.get(block, 72);
    }

    /** The body that is read as it arrives; only with {@code REQUEST_STREAMED}. */
    RequestBodyStream bodyStream(HttpServer server) {
        int start = at(40);
        return new RequestBodyStream(server, handle(), wholeLength(), block, start, start + at(44));
    }

    Object body() {
        int length = at(44);
        return length == 0 ? null : new BytesInputStream(block, at(40), length);
    }

    long startTime() {
        return CLOCK + (long) LONG.get(block, 64);
    }

    private int entry(int index) {
        return at(20) + index * ENTRY;
    }

    private String name(int entry) {
        int id = shortAt(entry);
        return id == Abi.UNKNOWN_NAME
                ? text(at(entry + 4), shortAt(entry + 2))
                : HeaderNames.KNOWN[id];
    }

    private String value(int entry) {
        return text(at(entry + 8), at(entry + 12));
    }

    /** Names are lower case; repeated ones are joined in order. */
    IPersistentMap headers() {
        int count = shortAt(14);
        return count <= ARRAY_MAP ? smallHeaders(count) : largeHeaders(count);
    }

    private IPersistentMap smallHeaders(int count) {
        Object[] pairs = new Object[count * 2];
        int used = 0;
        for (int i = 0; i < count; i++) {
            int entry = entry(i);
            String name = name(entry);
            boolean unknown = shortAt(entry) == Abi.UNKNOWN_NAME;
            int seen = unknown ? find(pairs, used, name) : findSame(pairs, used, name);
            if (seen >= 0) {
                pairs[seen + 1] = pairs[seen + 1] + (separator(name) + value(entry));
            } else {
                pairs[used++] = name;
                pairs[used++] = value(entry);
            }
        }
        return new PersistentArrayMap(used == pairs.length ? pairs : Arrays.copyOf(pairs, used));
    }

    /** Names with a number are always the same String object. */
    private static int findSame(Object[] pairs, int used, String name) {
        for (int i = 0; i < used; i += 2) {
            if (name == pairs[i]) {
                return i;
            }
        }
        return -1;
    }

    private static int find(Object[] pairs, int used, String name) {
        for (int i = 0; i < used; i += 2) {
            if (name.equals(pairs[i])) {
                return i;
            }
        }
        return -1;
    }

    /** A head may repeat one name thousands of times: joining must stay linear. */
    private IPersistentMap largeHeaders(int count) {
        TreeMap<String, StringBuilder> joined = new TreeMap<>();
        for (int i = 0; i < count; i++) {
            int entry = entry(i);
            String name = name(entry);
            StringBuilder values = joined.get(name);
            if (values == null) {
                joined.put(name, new StringBuilder(value(entry)));
            } else {
                values.append(separator(name)).append(value(entry));
            }
        }
        IPersistentMap headers = new PersistentTreeMap(null, HeaderOrder.ORDER);
        for (Map.Entry<String, StringBuilder> header : joined.entrySet()) {
            headers = headers.assoc(header.getKey(), header.getValue().toString());
        }
        return headers;
    }

    private static char separator(String name) {
        return name.equals("cookie") ? ';' : ',';
    }

    /** Repeated values on lines of their own: http-kit joins only this header so. */
    private String contentTypeLines() {
        return header("content-type", '\n', true);
    }

    private String header(String wanted, boolean trailers) {
        return header(wanted, separator(wanted), trailers);
    }

    /** Joined values of one header; trailers count only if {@code trailers}. */
    private String header(String wanted, char separator, boolean trailers) {
        StringBuilder found = null;
        int count = shortAt(trailers ? 14 : 16);
        for (int i = 0; i < count; i++) {
            int entry = entry(i);
            if (wanted.equals(name(entry))) {
                if (found == null) {
                    found = new StringBuilder(value(entry));
                } else {
                    found.append(separator).append(value(entry));
                }
            }
        }
        return found == null ? null : found.toString();
    }

    /** The joined values of Accept-Encoding; null without one. */
    String acceptEncoding() {
        String joined = null;
        int count = shortAt(16);
        for (int i = 0; i < count; i++) {
            int entry = entry(i);
            if (shortAt(entry) == ACCEPT_ENCODING) {
                joined = joined == null ? value(entry) : joined + ',' + value(entry);
            }
        }
        return joined;
    }

    /** Text before the port of the Host header; null without one (HTTP/1.0). */
    String serverName() {
        String host = header("host", false);
        if (host == null) {
            return null;
        }
        int colon = portColon(host);
        return colon < 0 ? host : host.substring(0, colon);
    }

    /** The Host header's port, never the listening one: that of the scheme if it has none. */
    int serverPort() {
        String host = header("host", false);
        int colon = host == null ? -1 : portColon(host);
        if (colon < 0 || colon == host.length() - 1) {
            return has(Abi.REQUEST_TLS) ? DEFAULT_TLS_PORT : DEFAULT_PORT;
        }
        return Integer.parseInt(host.substring(colon + 1));
    }

    private static int portColon(String host) {
        int colon = host.lastIndexOf(':');
        boolean inBrackets = host.startsWith("[") && colon < host.indexOf(']');
        return inBrackets || colon == 0 ? -1 : colon;
    }

    String remoteAddr(boolean trustForwarded) {
        if (trustForwarded && !has(Abi.REQUEST_PROXIED)) {
            String forwarded = header("x-forwarded-for", false);
            if (forwarded != null) {
                int comma = forwarded.indexOf(',');
                return comma < 0 ? forwarded : forwarded.substring(0, comma);
            }
        }
        return Addresses.text(block, 48, block[11]);
    }

    /**
     * Both ends' addresses as {@code Native.addresses} returns them; if the exchange is over, what
     * the request has of the peer's.
     */
    byte[] ends() {
        byte[] ends = Native.addresses(handle());
        return ends == null && block[11] > 0 ? lateEnds() : ends;
    }

    private byte[] lateEnds() {
        byte[] ends = new byte[1 + AddressRecord.MAX_LENGTH];
        if (!has(Abi.REQUEST_PROXIED)) {
            InetAddress peer = Addresses.address(block, 48, block[11]);
            AddressRecord.write(new InetSocketAddress(peer, shortAt(12)), ends, 1);
        }
        return ends;
    }

    /** The media type; the whole header unless it has a charset. */
    String contentType() {
        String type = contentTypeLines();
        if (type == null || charset(type) == null) {
            return type;
        }
        int semicolon = type.indexOf(';');
        return semicolon < 0 ? type : type.substring(0, semicolon);
    }

    String characterEncoding() {
        String type = contentTypeLines();
        String charset = type == null ? null : charset(type);
        return charset == null ? "utf8" : charset;
    }

    private static String charset(String contentType) {
        String charset = HttpUtils.parseCharsetName(contentType);
        return charset == null || charset.isEmpty() ? null : charset;
    }

    /** Whether the client expects a Connection header with close. */
    boolean endsConnection() {
        // One whose body is a stream becomes no WebSocket.
        boolean upgrades = has(Abi.REQUEST_UPGRADE) && !has(Abi.REQUEST_STREAMED);
        return has(Abi.REQUEST_CLOSE) || upgrades;
    }
}
