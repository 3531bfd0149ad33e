package org.httpkit;

import static java.nio.charset.StandardCharsets.US_ASCII;

import clojure.lang.ISeq;
import clojure.lang.Seqable;

import java.io.EOFException;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.Date;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;

/**
 * Functions over URIs, charsets, bodies and messages.
 *
 * <p>Nothing here uses a socket or the native library; {@link #getServerAddr} uses the resolver.
 */
public class HttpUtils {
    /** From this length on, in bytes, files are mapped instead of read. */
    private static final long MAP_THRESHOLD =
            Integer.getInteger("org.http-kit.memmap-file-threshold", 20) * 1024L * 1024L;

    public static final Charset ASCII = US_ASCII;
    public static final Charset UTF_8 = StandardCharsets.UTF_8;

    public static final byte CR = '\r';
    public static final byte LF = '\n';
    public static final byte SP = ' ';
    public static final byte COLON = ':';

    // Names of headers in lower case, as requests and responses are keyed.
    public static final String ACCEPT = "accept";
    public static final String ACCEPT_ENCODING = "accept-encoding";
    public static final String CONNECTION = "connection";
    public static final String CONTENT_ENCODING = "content-encoding";
    public static final String CONTENT_LENGTH = "content-length";
    public static final String CONTENT_TYPE = "content-type";
    public static final String HOST = "host";
    public static final String LOCATION = "location";
    public static final String TRANSFER_ENCODING = "transfer-encoding";
    public static final String USER_AGENT = "user-agent";
    public static final String X_FORWARDED_FOR = "x-forwarded-for";
    public static final String CHUNKED = "chunked";

    private static final byte[] HEX = "0123456789ABCDEF".getBytes(US_ASCII);

    private HttpUtils() {}

    /**
     * @return whether the text can be a header's name (RFC 9110 5.6.2)
     */
    public static boolean isToken(String text) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            boolean letter = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z';
            if (!letter && !(c >= '0' && c <= '9') && "!#$%&'*+-.^_`|~".indexOf(c) < 0) {
                return false;
            }
        }
        return !text.isEmpty();
    }

    /**
     * @return the value of that name if it is a String, else null
     */
    public static String getStringValue(Map<String, Object> headers, String name) {
        Object value = headers.get(name);
        return value instanceof String ? (String) value : null;
    }

    /**
     * Spells a header name in the usual way: {@code USER-agent} becomes {@code User-Agent}.
     *
     * <p>Only ASCII letters change: a Unicode case mapping could turn a character that is not
     * allowed in a name, such as the Kelvin sign, into one that is.
     */
    public static String camelCase(String name) {
        char[] changed = null;
        char previous = '-';
        for (int i = 0; i < name.length(); i++) {
            char given = name.charAt(i);
            char wanted = previous == '-' ? upper(given) : lower(given);
            if (given != wanted) {
                changed = changed == null ? name.toCharArray() : changed;
                changed[i] = wanted;
            }
            previous = given;
        }
        return changed == null ? name : new String(changed);
    }

    /**
     * Escapes, as UTF-8, characters not allowed in a request target. A percent sign is kept, so
     * that nothing is escaped twice.
     */
    public static String encodeURI(String uri) {
        byte[] bytes = uri.getBytes(UTF_8);
        DynamicBytes out = new DynamicBytes(bytes.length + 16);
        for (byte b : bytes) {
            if (b > ' ' && b < 0x7f && "\"<>\\^`{|}".indexOf(b) < 0) {
                out.append(b);
            } else {
                out.append((byte) '%').append(HEX[b >> 4 & 0xf], HEX[b & 0xf]);
            }
        }
        return new String(out.get(), 0, out.length(), US_ASCII);
    }

    /**
     * @return path and query, encoded: the origin form of a request target (RFC 9112 3.2.1)
     */
    public static String getPath(URI uri) {
        String path = uri.getRawPath();
        String target = path == null || path.isEmpty() ? "/" : encodeURI(path);
        String query = uri.getRawQuery();
        return query == null ? target : target + "?" + encodeURI(query);
    }

    /**
     * @return the whole URI but its fragment, in ASCII: the absolute form (RFC 9112 3.2.2)
     */
    public static String getProxyTarget(URI uri) {
        String ascii = uri.toASCIIString();
        int fragment = ascii.indexOf('#');
        return fragment < 0 ? ascii : ascii.substring(0, fragment);
    }

    /**
     * @return the port as given, else 443 for https and 80 for everything else
     */
    public static int getPort(URI uri) {
        int port = Authority.of(uri).port;
        if (port != -1) {
            return port;
        }
        return "https".equalsIgnoreCase(uri.getScheme()) ? 443 : 80;
    }

    /**
     * @return the host, and {@code :port} if it is given; null without a host
     */
    public static String getHost(URI uri) {
        Authority authority = Authority.of(uri);
        return authority.port == -1 ? authority.host : authority.host + ":" + authority.port;
    }

    /**
     * Resolves host and port, blocking as long as the resolver takes. A URI without a host means
     * the loopback address.
     */
    public static InetSocketAddress getServerAddr(URI uri) throws UnknownHostException {
        return new InetSocketAddress(InetAddress.getByName(Authority.of(uri).host), getPort(uri));
    }

    /**
     * @return the charset that a Content-Type names; null if it names none, or an unknown one
     */
    public static Charset parseCharset(String contentType) {
        return Charsets.forName(Charsets.parameter(contentType));
    }

    /**
     * @return the text of the {@code charset} parameter of a Content-Type, known or not, without
     *     quotes and backslashes; null if it is missing or empty
     */
    public static String parseCharsetName(String contentType) {
        return Charsets.parameter(contentType);
    }

    /**
     * Finds the charset of a document: from its Content-Type, else from its first 512 bytes (HTML's
     * {@code http-equiv} or the XML declaration), else UTF-8.
     *
     * @param headers under lower-case names; a content-type other than a String is ignored
     */
    public static Charset detectCharset(Map<String, Object> headers, DynamicBytes body) {
        return Charsets.detect(headers.get("content-type"), body);
    }

    /** Encodes a whole array, see {@link #WsEncode(byte, byte[], int)}. */
    public static ByteBuffer WsEncode(byte opcode, byte[] data) {
        return WsEncode(opcode, data, data.length);
    }

    /**
     * Encodes an unmasked, final WebSocket frame (RFC 6455 5.2).
     *
     * @param length how many bytes of {@code data} are its payload
     * @throws IllegalArgumentException for a control frame of more than 125 bytes
     */
    public static ByteBuffer WsEncode(byte opcode, byte[] data, int length) {
        if ((opcode & 0x8) != 0 && length > 125) {
            throw new IllegalArgumentException(
                    "payload of a control frame exceeds 125 bytes: " + length);
        }
        ByteBuffer frame = ByteBuffer.allocate(length + 10);
        frame.put((byte) (0x80 | opcode));
        if (length <= 125) {
            frame.put((byte) length);
        } else if (length <= 0xffff) {
            frame.put((byte) 126).putShort((short) length);
        } else {
            frame.put((byte) 127).putLong(length);
        }
        frame.put(data, 0, length).flip();
        return frame;
    }

    /**
     * Writes a line with date, thread and message to standard error, then the stack trace. Never
     * throws.
     */
    public static void printError(String message, Throwable error) {
        try {
            StringWriter text = new StringWriter();
            PrintWriter out = new PrintWriter(text);
            out.printf(
                    Locale.ROOT,
                    "%s [%s] ERROR - %s%n",
                    new Date(),
                    Thread.currentThread().getName(),
                    message);
            if (error != null) {
                error.printStackTrace(out);
            }
            // One call, so that output of two threads does not mix.
            System.err.print(text);
        } catch (Throwable unprintable) {
            printName(message, error);
        }
    }

    /** For lack of memory, and for exceptions that throw when printed. */
    private static void printName(String message, Throwable error) {
        try {
            System.err.println(
                    "ERROR - "
                            + message
                            + ", "
                            + (error == null ? null : error.getClass().getName()));
        } catch (Throwable e) {
            // Nothing more can be reported, and the caller has more to do, such as ending a
            // request.
            return;
        }
    }

    /** Writes a line with date, thread and message to standard error. */
    public static void printWarning(String message) {
        String thread = Thread.currentThread().getName();
        System.err.printf(Locale.ROOT, "%s [%s] WARN - %s%n", new Date(), thread, message);
    }

    /**
     * @return an exception's message for a peer; empty if there is none, or if reading it throws
     */
    public static String messageOf(Throwable error) {
        return messageOf(error, "");
    }

    /**
     * @return the message for a peer about a body that cannot be read
     */
    public static String unreadableMessage(IOException error) {
        return messageOf(error, "I/O error encoding response");
    }

    /** An exception's message is user code, too. */
    private static String messageOf(Throwable error, String unknown) {
        try {
            String message = error.getMessage();
            return message == null ? unknown : message;
        } catch (Throwable inMessage) {
            return unknown;
        }
    }

    /** Encodes a response without a Server header, see the form with all arguments. */
    public static ByteBuffer[] HttpEncode(int status, HeaderMap headers, Object body) {
        return HttpEncode(status, headers, body, null);
    }

    /** Encodes a response to a request other than HEAD, see the form with all arguments. */
    public static ByteBuffer[] HttpEncode(
            int status, HeaderMap headers, Object body, String serverHeader) {
        return HttpEncode(status, headers, body, serverHeader, true);
    }

    /** Encodes a response to a request other than HEAD, see the form with all arguments. */
    public static ByteBuffer[] HttpEncode(
            int status,
            HeaderMap headers,
            Object body,
            String serverHeader,
            boolean legacyContentLength) {
        return HttpEncode(status, headers, body, serverHeader, legacyContentLength, false);
    }

    /**
     * Encodes a whole response. A body that cannot be read makes it a 500 without the headers
     * given.
     *
     * @param headers under camel-cased names; modified: Content-Length and Transfer-Encoding are
     *     replaced to match the body, Server and Date are added if missing
     * @param body see {@link #bodyBuffer}; closed unread if the status allows none
     * @param serverHeader the Server header, or null for none
     * @param legacyContentLength false: a response to HEAD keeps a given Content-Length
     * @param headRequest whether the request was a HEAD, so that the body is only measured
     * @return the head, then the body if there is one
     * @throws IllegalArgumentException if the status or a header cannot be sent
     */
    public static ByteBuffer[] HttpEncode(
            int status,
            HeaderMap headers,
            Object body,
            String serverHeader,
            boolean legacyContentLength,
            boolean headRequest) {
        boolean keepLength = status == 304 || headRequest && !legacyContentLength;
        return new ResponseEncoder(headers, serverHeader, keepLength, headRequest)
                .encode(status, body);
    }

    /**
     * Turns a message body into bytes.
     *
     * @param body null, String, byte[], ByteBuffer, InputStream (read whole and closed), File,
     *     FilePart, or a Seqable, whose elements' texts are joined; texts in UTF-8
     * @return the bytes, not copied if possible; null for null
     * @throws IOException if it cannot be read
     * @throws RuntimeException for any other class
     */
    public static ByteBuffer bodyBuffer(Object body) throws IOException {
        if (body == null || body instanceof ByteBuffer) {
            return (ByteBuffer) body;
        } else if (body instanceof String) {
            return ByteBuffer.wrap(((String) body).getBytes(UTF_8));
        } else if (body instanceof byte[]) {
            return ByteBuffer.wrap((byte[]) body);
        } else if (body instanceof InputStream) {
            try (InputStream in = (InputStream) body) {
                return ByteBuffer.wrap(in.readAllBytes());
            }
        } else if (body instanceof File) {
            return readAll((File) body);
        } else if (body instanceof FilePart) {
            return ((FilePart) body).read();
        } else if (body instanceof Seqable) {
            return join((Seqable) body);
        }
        throw new RuntimeException(
                body.getClass()
                        + " is not understandable: a response's :body is nil, a String, byte[],"
                        + " ByteBuffer, InputStream, File or a sequence");
    }

    /**
     * Reads the beginning of a file.
     *
     * @param length in bytes
     * @throws EOFException if the file is shorter
     */
    public static byte[] readContent(File file, int length) throws IOException {
        byte[] content = new byte[length];
        try (FileInputStream in = new FileInputStream(file)) {
            if (in.readNBytes(content, 0, length) < length) {
                throw new EOFException(file + " is shorter than " + length + " bytes");
            }
        }
        return content;
    }

    /**
     * Reads a file, or maps it from 20 MiB on (property {@code org.http-kit.memmap-file-threshold},
     * in MiB).
     *
     * @throws ContentTooLargeException beyond 2 GiB
     */
    public static ByteBuffer readAll(File file) throws IOException {
        long length = file.length();
        if (length > Integer.MAX_VALUE) {
            throw new ContentTooLargeException(file + " exceeds 2 GiB: " + length + " bytes");
        }
        if (length < MAP_THRESHOLD) {
            return ByteBuffer.wrap(readContent(file, (int) length));
        }
        try (FileInputStream in = new FileInputStream(file)) {
            return in.getChannel().map(FileChannel.MapMode.READ_ONLY, 0, length);
        }
    }

    /** Reads a stream to its end, and closes it. */
    public static DynamicBytes readAll(InputStream in) throws IOException {
        try (InputStream open = in) {
            byte[] bytes = open.readAllBytes();
            return new DynamicBytes(Math.max(1, bytes.length)).append(bytes, bytes.length);
        }
    }

    private static ByteBuffer join(Seqable parts) {
        DynamicBytes bytes = new DynamicBytes(512);
        for (ISeq s = parts.seq(); s != null; s = s.next()) {
            bytes.append(
                    Objects.requireNonNull(s.first(), "nil among the parts of a body").toString(),
                    UTF_8);
        }
        return ByteBuffer.wrap(bytes.get(), 0, bytes.length());
    }

    private static char upper(char c) {
        return c >= 'a' && c <= 'z' ? (char) (c - 'a' + 'A') : c;
    }

    private static char lower(char c) {
        return c >= 'A' && c <= 'Z' ? (char) (c - 'A' + 'a') : c;
    }
}
