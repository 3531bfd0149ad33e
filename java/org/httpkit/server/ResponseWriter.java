package org.httpkit.server;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import clojure.lang.Keyword;
import clojure.lang.RT;

import org.httpkit.Bodyless;
import org.httpkit.FilePart;
import org.httpkit.HeaderValues;
import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Map;

/**
 * Turns a Ring response into the native form: a status, and header lines and a body in one reusable
 * array. The native side adds framing headers.
 */
final class ResponseWriter extends HeadBuffer {
    static final Keyword STATUS = Keyword.intern(null, "status");
    static final Keyword HEADERS = Keyword.intern(null, "headers");
    static final Keyword BODY = Keyword.intern(null, "body");
    static final Keyword COMPRESSION = Keyword.intern(null, "compression");

    /** Texts up to this size are encoded behind the header lines. */
    private static final int INLINE = 16 * 1024;

    /** Other bodies are copied there up to this size, which costs less than a second array. */
    private static final int BRIEF = 1024;

    private static final byte[] SEPARATOR = {':', ' '};
    private static final byte[] CRLF = {'\r', '\n'};
    private static final byte[] CONNECTION = "Connection".getBytes(US_ASCII);
    private static final byte[] TEXT =
            "Content-Type: text/plain; charset=utf-8\r\n".getBytes(US_ASCII);
    private static final byte[] EVENT_STREAM = "content-type: text/event-stream".getBytes(US_ASCII);
    private static final byte[] HTML =
            "Content-Type: text/html; charset=utf-8\r\n".getBytes(US_ASCII);

    int status;

    /** A response's :status that is not an integer and so counts as 200; else null. */
    Object ignoredStatus;

    int flags;
    long declared;
    byte[] large;
    int largeStart;
    int largeLength;

    /** May be too long for memory: InputStream, File, FilePart, Seqable or a Ring type. */
    Object stream;

    String contentLength;

    /** Until the head is complete, if the response may be compressed; else null. */
    private ResponseCoding coding;

    private HeaderCache cache;

    private void reset() {
        flags = 0;
        declared = -1;
        head = 0;
        body = 0;
        large = null;
        largeStart = 0;
        largeLength = 0;
        stream = null;
        contentLength = null;
        coding = null;
        if (buffer.length > 8 * INLINE) {
            buffer = new byte[1024];
        }
    }

    /**
     * Writes a Ring response map.
     *
     * @throws IOException if the body cannot be read
     * @throws RuntimeException if it is not a response
     */
    void ring(Map<?, ?> response, Terms terms) throws IOException {
        reset();
        status(response);
        coding = ResponseCoding.begin(response.get(COMPRESSION), terms, status);
        headers(response.get(HEADERS), terms);
        ringBody(response.get(BODY));
    }

    /**
     * @throws ClassCastException for another class, as in http-kit; the message says what is
     *     expected
     */
    static Map<?, ?> map(Object response) {
        if (response instanceof Map) {
            return (Map<?, ?>) response;
        }
        String kind = response.getClass().getName();
        throw new ClassCastException(
                "response of class " + kind + ": expected a map, or nil for 404");
    }

    private void ringBody(Object content) throws IOException {
        if (PhaseLock.mayBlock(content) && !Bodyless.is(status)) {
            stream = content;
        } else {
            body(content);
        }
    }

    /** Writes one of the server's own plain responses. */
    void plain(int status, String text, boolean typed) {
        reset();
        this.status = status;
        if (typed) {
            put(TEXT);
        }
        endHead();
        byte[] bytes = text.getBytes(typed ? UTF_8 : US_ASCII);
        setOwnBody(bytes, bytes.length);
    }

    /**
     * Like {@link #ring}, for the first send on a channel, which has a default type. Only a file is
     * left as {@link #stream}.
     *
     * @param compression the channel's {@code :compression}, or null
     */
    void channel(Object data, Terms terms, Object compression) throws IOException {
        reset();
        if (data instanceof Map) {
            Map<?, ?> response = (Map<?, ?>) data;
            status(response);
            Object own = response.get(COMPRESSION);
            coding = ResponseCoding.begin(own == null ? compression : own, terms, status);
            Object given = response.get(HEADERS);
            headers(given, terms);
            if (given == null || ((Map<?, ?>) given).isEmpty()) {
                html();
            }
            channelBody(response.get(BODY));
        } else {
            status = 200;
            coding = ResponseCoding.begin(compression, terms, status);
            html();
            channelBody(data);
        }
    }

    private void channelBody(Object content) throws IOException {
        boolean isFile = content instanceof File || content instanceof FilePart;
        if (isFile && !Bodyless.is(status)) {
            stream = content;
        } else {
            body(content);
        }
    }

    private void html() {
        if (coding != null) {
            coding.note("content-type", "text/html", 0);
        }
        put(HTML);
        endHead();
    }

    /** Writes header lines alone. */
    void lines(Map<?, ?> headers) {
        reset();
        headers(headers, Terms.NONE);
    }

    private void status(Map<?, ?> response) {
        Object given = response.get(STATUS);
        status = StatusCodes.of(given);
        ignoredStatus = StatusCodes.isIgnored(given) ? given : null;
    }

    private void headers(Object given, Terms terms) {
        if (given == null) {
            return;
        }
        if (cache == null) {
            cache = new HeaderCache();
        }
        // A coding has to see each header.
        if (coding != null) {
            headerLines(given, terms);
        } else if (!cache.write(given, this)) {
            headerLines(given, terms);
            cache.note(given, this);
        }
        endHead();
        if (contentLength != null && (status == 304 || terms.head && terms.keepLength)) {
            declared = length(contentLength);
        }
    }

    private void headerLines(Object given, Terms terms) {
        if (given instanceof IPersistentMap) {
            for (ISeq s = ((IPersistentMap) given).seq(); s != null; s = s.next()) {
                Map.Entry<?, ?> entry = (Map.Entry<?, ?>) s.first();
                header(name(entry.getKey()), entry.getValue(), terms);
            }
        } else if (given instanceof Map) {
            for (Map.Entry<?, ?> entry : ((Map<?, ?>) given).entrySet()) {
                header(name(entry.getKey()), entry.getValue(), terms);
            }
        } else {
            String kind = given.getClass().getName();
            throw new ClassCastException("response :headers of class " + kind + ": expected a map");
        }
    }

    /**
     * @throws ClassCastException for another class, as in http-kit; the message names the header
     */
    static String name(Object key) {
        return HeaderValues.name("response", key);
    }

    /**
     * Header lines are written with {@link #body} as the end; from here on it is the body's size.
     */
    private void endHead() {
        head = body;
        body = 0;
        if (coding != null) {
            coding.decideType();
        }
    }

    private static long length(String text) {
        try {
            return Math.max(-1, Long.parseLong(text.trim()));
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    private void header(String name, Object value, Terms terms) {
        switch (name.length()) {
            case 4:
                if (name.equalsIgnoreCase("Date")) {
                    flags |= Abi.GIVEN_DATE;
                }
                break;
            case 6:
                if (name.equalsIgnoreCase("Server")) {
                    flags |= Abi.GIVEN_SERVER;
                }
                break;
            case 10:
                if (name.equalsIgnoreCase("Connection")) {
                    if (terms.endsConnection || value == null) {
                        return; // the server adds it itself
                    }
                    flags |= Abi.GIVEN_CONNECTION;
                }
                break;
            case 14:
                if (name.equalsIgnoreCase("Content-Length")) {
                    Object length = HeaderValues.single(value);
                    contentLength = length == null ? null : length.toString();
                    return;
                }
                break;
            case 17:
                if (name.equalsIgnoreCase("Transfer-Encoding")) {
                    return;
                }
                break;
            default:
        }
        byte[] wireName = WireNames.of(name);
        if (coding != null) {
            coding.note(name, value, body + wireName.length + SEPARATOR.length);
        }
        if (HeaderValues.hasElements(value)) {
            for (ISeq s = RT.seq(value); s != null; s = s.next()) {
                Object element = s.first();
                if (element == null) {
                    throw new NullPointerException(
                            "nil among the values of response header " + name);
                }
                line(wireName, HeaderValues.text(name, element));
            }
        } else if (value != null) {
            line(wireName, HeaderValues.text(name, value));
        }
    }

    private void line(byte[] name, String value) {
        if ((flags & Abi.GIVEN_CONNECTION) != 0 && isClose(name, value)) {
            flags |= Abi.CLOSE;
        }
        put(name);
        put(SEPARATOR);
        value(name, value);
        put(CRLF);
    }

    private static boolean isClose(byte[] name, String value) {
        if (!Arrays.equals(name, CONNECTION)) {
            return false;
        }
        for (String token : value.split(",")) {
            if (token.trim().equalsIgnoreCase("close")) {
                return true;
            }
        }
        return false;
    }

    private void body(Object content) throws IOException {
        if (Bodyless.is(status)) {
            if (content instanceof InputStream) {
                ((InputStream) content).close();
            }
            return;
        }
        if (content instanceof String) {
            text((String) content);
        } else if (content != null) {
            bytes(content);
        }
    }

    private void text(String text) {
        if (text.length() <= INLINE && textBody(text)) {
            flags |= Abi.OWNED;
        } else {
            byte[] bytes = text.getBytes(UTF_8);
            setOwnBody(bytes, bytes.length);
        }
    }

    private void bytes(Object content) throws IOException {
        ByteBuffer bytes = HttpUtils.bodyBuffer(content);
        boolean isUsers = content instanceof byte[] || content instanceof ByteBuffer;
        if (bytes.hasArray()) {
            setBody(bytes.array(), bytes.arrayOffset() + bytes.position(), bytes.remaining());
            flags |= isUsers ? 0 : Abi.OWNED;
        } else {
            byte[] copy = new byte[bytes.remaining()];
            bytes.duplicate().get(copy);
            setOwnBody(copy, copy.length);
        }
    }

    /**
     * @return status and header lines in a new writer, for a response that ends later
     */
    ResponseWriter headCopy() {
        ResponseWriter copy = new ResponseWriter();
        copy.status = status;
        copy.flags = flags;
        copy.declared = declared;
        copy.buffer = Arrays.copyOf(buffer, head);
        copy.head = head;
        copy.coding = coding;
        return copy;
    }

    /** Whether to read a file of this length, in order to compress it. */
    boolean wantsFile(long length) {
        return coding != null && coding.wantsFile(length);
    }

    /** The response is complete: completes its head if it is compressed. */
    void codeWhole() {
        ResponseCoding decided = takeCoding();
        if (decided != null) {
            decided.whole(this, Math.max(declared, body + largeLength));
        }
    }

    /** As {@link #codeWhole}, for a body that is left to the kernel. */
    void leavePlain(long length) {
        ResponseCoding decided = takeCoding();
        if (decided != null) {
            decided.plain(this, length);
        }
    }

    /** As {@link #codeWhole}, for a body that comes piece by piece. */
    void codeStream() {
        ResponseCoding decided = takeCoding();
        if (decided != null) {
            decided.stream(this);
        }
    }

    private ResponseCoding takeCoding() {
        ResponseCoding taken = coding;
        coding = null;
        return taken;
    }

    /** Whether its type is server-sent events, each of which must arrive immediately. */
    boolean isEventStream() {
        return indexOf(EVENT_STREAM) >= 0;
    }

    /**
     * @return {@link #stream}, which this no longer holds
     */
    Object takeStream() {
        Object body = stream;
        stream = null;
        return body;
    }

    /** Reads a whole body that has turned out to be short. */
    void read(Object content) throws IOException {
        stream = null;
        body(content);
    }

    /**
     * Sets a body that no user code can reach, so equal bodies can share one copy while peers read.
     */
    void setOwnBody(byte[] bytes, int n) {
        setBody(bytes, 0, n);
        flags |= Abi.OWNED;
    }

    private void setBody(byte[] bytes, int start, int n) {
        if (n <= BRIEF) {
            makeRoom(n);
            System.arraycopy(bytes, start, buffer, head, n);
            body = n;
        } else {
            large = bytes;
            largeStart = start;
            largeLength = n;
        }
    }

    /** Declares the length in a response to HEAD, unless the handler declared one. */
    void declareLength(long length) {
        if (declared < 0) {
            declared = length;
        }
    }
}
