package org.httpkit.server;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import clojure.lang.IPersistentMap;
import clojure.lang.Keyword;
import clojure.lang.RT;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Date;
import java.util.List;
import java.util.Locale;

/**
 * An exchange that is over, for the access log. The layout of its record is in {@code
 * rust/core/src/server/access.rs}.
 */
final class AccessEntry {
    private static final int TEXTS = 72;
    private static final int FIXED = 96;
    private static final String[] METHODS = Native.knownMethods().split("\n");

    private static final Keyword TIME = key("time");
    private static final Keyword METHOD = key("request-method");
    private static final Keyword URI = key("uri");
    private static final Keyword QUERY = key("query-string");
    private static final Keyword PROTOCOL = key("protocol");
    private static final Keyword LINE = key("request-line");
    private static final Keyword STATUS = key("status");
    private static final Keyword BYTES_IN = key("bytes-in");
    private static final Keyword BYTES_OUT = key("bytes-out");
    private static final Keyword MSECS = key("msecs");
    private static final Keyword HANDLER_MSECS = key("handler-msecs");
    private static final Keyword REMOTE = key("remote-addr");
    private static final Keyword HOST = key("host");
    private static final Keyword AGENT = key("user-agent");
    private static final Keyword REFERER = key("referer");
    private static final Keyword USER = key("user");
    private static final Keyword TLS = key("tls");
    private static final Keyword END = key("end");

    private final ByteBuffer all;

    /** Where its record begins. */
    private final int start;

    private final String[] texts = new String[(FIXED - TEXTS) / Integer.BYTES];

    private AccessEntry(ByteBuffer all, int start) {
        this.all = all;
        this.start = start;
        int at = start + FIXED;
        for (int i = 0; i < texts.length; i++) {
            int length = all.getInt(start + TEXTS + i * Integer.BYTES);
            texts[i] = length == 0 ? null : new String(all.array(), at, length, ISO_8859_1);
            at += length;
        }
    }

    /** The entries of what {@code Native.serverAccess} returns. */
    static List<AccessEntry> all(byte[] records) {
        ByteBuffer all = ByteBuffer.wrap(records).order(ByteOrder.LITTLE_ENDIAN);
        List<AccessEntry> entries = new ArrayList<>();
        for (int at = 0; at < records.length; at += all.getInt(at)) {
            entries.add(new AccessEntry(all, at));
        }
        return entries;
    }

    static int count(byte[] records) {
        ByteBuffer all = ByteBuffer.wrap(records).order(ByteOrder.LITTLE_ENDIAN);
        int count = 0;
        for (int at = 0; at < records.length; at += all.getInt(at)) {
            count++;
        }
        return count;
    }

    private static Keyword key(String name) {
        return Keyword.intern(name);
    }

    private int unsigned(int at) {
        return all.get(start + at) & 0xff;
    }

    private long number(int at) {
        return all.getLong(start + at);
    }

    /** Whether the request was understood; else there is only {@link #line}. */
    private boolean isRequest() {
        return unsigned(4) < METHODS.length || texts[0] != null;
    }

    /** As sent; null if it is not known. */
    String method() {
        return unsigned(4) < METHODS.length ? METHODS[unsigned(4)] : texts[0];
    }

    private int question() {
        return isRequest() && texts[1] != null ? texts[1].indexOf('?') : -1;
    }

    String uri() {
        int question = question();
        return !isRequest() ? null : question > 0 ? texts[1].substring(0, question) : texts[1];
    }

    String query() {
        int question = question();
        return question > 0 ? texts[1].substring(question + 1) : null;
    }

    String protocol() {
        return !isRequest() ? null : unsigned(5) == Abi.REQUEST_HTTP11 ? "HTTP/1.1" : "HTTP/1.0";
    }

    /** The request line, or what came instead of one; null if nothing did. */
    String line() {
        return isRequest() ? method() + ' ' + texts[1] + ' ' + protocol() : texts[1];
    }

    /** Null if no response was begun. */
    Integer status() {
        int status = all.getShort(start + 6) & 0xffff;
        return status == 0 ? null : status;
    }

    /** Milliseconds since 1970. */
    long time() {
        return number(16);
    }

    double msecs() {
        return number(24) / 1e3;
    }

    Double handlerMsecs() {
        long micros = number(32);
        return micros < 0 ? null : micros / 1e3;
    }

    long bytesIn() {
        return number(40);
    }

    long bytesOut() {
        return number(48);
    }

    String remoteAddress() {
        return Addresses.text(all.array(), start + 56, unsigned(9));
    }

    String host() {
        return texts[2];
    }

    String userAgent() {
        return texts[3];
    }

    String referer() {
        return texts[4];
    }

    /** The name of basic authentication, as the client claims it; null without one. */
    String user() {
        if (texts[5] == null) {
            return null;
        }
        try {
            String pair = new String(Base64.getDecoder().decode(texts[5]), ISO_8859_1);
            int colon = pair.indexOf(':');
            return colon <= 0 ? null : pair.substring(0, colon);
        } catch (IllegalArgumentException e) {
            return null; // it is no Base64, so it names no user
        }
    }

    /** Of the TLS that ends here; null without. */
    String tls() {
        return unsigned(12) == 0 ? null : "TLSv1." + unsigned(12);
    }

    /** {@code done}, {@code aborted} or {@code timeout}. */
    String end() {
        switch (unsigned(8)) {
            case Abi.ACCESS_DONE:
                return "done";
            case Abi.ACCESS_TIMED_OUT:
                return "timeout";
            case Abi.ACCESS_ABORTED:
            default:
                return "aborted";
        }
    }

    /** For a function, as {@code run-server} describes it. */
    IPersistentMap map() {
        String method = method();
        return RT.map(
                TIME, new Date(time()),
                METHOD, method == null ? null : key(method.toLowerCase(Locale.ROOT)),
                URI, uri(),
                QUERY, query(),
                PROTOCOL, protocol(),
                LINE, line(),
                STATUS, status() == null ? null : (Object) status().longValue(),
                BYTES_IN, bytesIn(),
                BYTES_OUT, bytesOut(),
                MSECS, msecs(),
                HANDLER_MSECS, handlerMsecs(),
                REMOTE, remoteAddress(),
                HOST, host(),
                AGENT, userAgent(),
                REFERER, referer(),
                USER, user(),
                TLS, tls(),
                END, key(end()));
    }
}
