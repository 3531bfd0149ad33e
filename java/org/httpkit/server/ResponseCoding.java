package org.httpkit.server;

import clojure.lang.ISeq;
import clojure.lang.RT;

import org.httpkit.Bodyless;
import org.httpkit.HeaderValues;
import org.httpkit.jni.Abi;

import java.nio.charset.StandardCharsets;
import java.util.Locale;
import java.util.Map;

/**
 * Decides whether one response is compressed, and changes its head accordingly. The native side
 * compresses.
 */
final class ResponseCoding {
    /** Files up to this length are read and compressed; longer ones are sent by the kernel. */
    static final int MAX_FILE = 1024 * 1024;

    private static final int OK = 200;
    private static final int PARTIAL = 206;
    private static final int NOT_MODIFIED = 304;

    private static final byte[] CODED = bytes("Content-Encoding: gzip\r\n");
    private static final byte[] VARY = bytes("Vary: Accept-Encoding\r\n");
    private static final byte[] WEAK = bytes("W/");

    private final Compression how;
    private final boolean accepted;
    private final int status;

    /** The request is HEAD. */
    private final boolean headOnly;

    private String contentType;
    private boolean isForType;
    private boolean excluded;
    private boolean varies;

    /** Where the value of a strong ETag is in the head; -1 for none. */
    private int etag = -1;

    /** Where the line of Accept-Ranges is in the head, and its length; -1 for none. */
    private int ranges = -1;

    private int rangesLength;

    private ResponseCoding(Compression how, Terms terms, int status) {
        this.how = how;
        this.accepted = terms.accepted() == AcceptEncoding.GZIP;
        this.status = status;
        this.headOnly = terms.head;
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.US_ASCII);
    }

    /**
     * @param own the response's or channel's {@code :compression}; null for the server's
     * @return null if the response cannot be compressed, whatever its headers
     */
    static ResponseCoding begin(Object own, Terms terms, int status) {
        Compression how = own == null ? terms.compression : Compression.of(own);
        if (how == null
                || terms.http10
                || (Bodyless.is(status) && status != NOT_MODIFIED)
                || terms.accepted() == AcceptEncoding.UNSAID) {
            return null;
        }
        return new ResponseCoding(how, terms, status);
    }

    /** Whether an event stream with this option would be compressed. */
    static boolean isForEvents(Object own, Terms terms) {
        Compression how = own == null ? terms.compression : Compression.of(own);
        return how != null
                && !terms.http10
                && terms.accepted() == AcceptEncoding.GZIP
                && how.isFor("text/event-stream");
    }

    /** Whether a file of this length would be compressed in a response with these headers. */
    static boolean isForFile(Map<?, ?> response, Object channels, Terms terms, long length) {
        Object own = response.get(ResponseWriter.COMPRESSION);
        ResponseCoding coding = begin(own == null ? channels : own, terms, OK);
        if (coding == null) {
            return false;
        }
        Map<?, ?> headers = (Map<?, ?>) response.get(ResponseWriter.HEADERS);
        if (headers != null) {
            for (Map.Entry<?, ?> header : headers.entrySet()) {
                coding.note(ResponseWriter.name(header.getKey()), header.getValue(), 0);
            }
        }
        coding.decideType();
        return coding.accepted && length >= coding.how.minSize && coding.isEligible();
    }

    /** Takes note of a header whose first value begins at {@code at}. */
    void note(String name, Object value, int at) {
        if (HeaderValues.hasElements(value)) {
            for (ISeq s = RT.seq(value); s != null; s = s.next()) {
                noteLine(name, String.valueOf(s.first()), at);
            }
        } else if (value != null) {
            noteLine(name, value.toString(), at);
        }
    }

    private void noteLine(String name, String value, int at) {
        switch (name.toLowerCase(Locale.ROOT)) {
            case "content-type":
                contentType = value;
                break;
            case "content-range":
                excluded |= status != PARTIAL;
                break;
            case "content-encoding":
            case "content-digest":
            case "repr-digest":
            case "digest":
            case "content-md5":
                excluded = true; // it is about the bytes as they are
                break;
            case "cache-control":
                excluded |= has(value, "no-transform");
                break;
            case "vary":
                varies |= has(value, "accept-encoding") || has(value, "*");
                break;
            case "accept-ranges":
                if (value.equals("bytes")) {
                    ranges = at - name.length() - 2;
                    rangesLength = name.length() + 2 + value.length() + 2;
                }
                break;
            case "etag":
                etag = value.startsWith("\"") ? at : -1;
                break;
            default:
        }
    }

    private static boolean has(String list, String token) {
        for (String element : list.split(",")) {
            if (element.trim().equalsIgnoreCase(token)) {
                return true;
            }
        }
        return false;
    }

    /**
     * All headers are noted. Runs user code: on the handler's thread, and before anything is sent.
     */
    void decideType() {
        // A 304 need not say its type.
        isForType = contentType == null ? status == NOT_MODIFIED : how.isFor(contentType);
    }

    private boolean isEligible() {
        return !excluded && isForType;
    }

    /**
     * Whether the body is that of a part, or none: its head only says that there is another coding.
     */
    private boolean isAside() {
        return status == PARTIAL || status == NOT_MODIFIED;
    }

    /** Whether to read a file of this length, in order to compress it. */
    boolean wantsFile(long length) {
        return accepted
                && length >= how.minSize
                && length <= MAX_FILE
                && isEligible()
                && !isAside();
    }

    /** The response has a whole body of this size, or is one to HEAD and has none. */
    void whole(ResponseWriter out, long size) {
        if (isAside()) {
            changeAside(out);
        } else if (size >= how.minSize && isEligible()) {
            if (accepted && headOnly) {
                // The length would be known only after compressing.
                out.declared = Abi.UNKNOWN_LENGTH;
            } else if (accepted) {
                code(out, how.levelOfWhole(size));
            }
            changeHead(out);
        }
    }

    /** The body, of this length, is sent as it is. */
    void plain(ResponseWriter out, long length) {
        if (isAside()) {
            changeAside(out);
        } else if (length >= how.minSize && length <= MAX_FILE && isEligible()) {
            vary(out); // for another client, it is compressed
        }
    }

    /** The body comes piece by piece. */
    void stream(ResponseWriter out) {
        if (isAside()) {
            changeAside(out);
        } else if (isEligible()) {
            if (accepted) {
                code(out, how.levelOfStream());
            }
            changeHead(out);
        }
    }

    /** The head of a part, which is one of the plain body, or of a 304. */
    private void changeAside(ResponseWriter out) {
        if (!isEligible()) {
            return;
        }
        if (accepted && status == NOT_MODIFIED) {
            // The client may have either body, and both match a weak validator.
            if (etag >= 0) {
                out.insert(etag, WEAK);
            }
            out.declared = -1;
        }
        vary(out);
    }

    private void vary(ResponseWriter out) {
        if (!varies) {
            out.insert(out.head, VARY);
        }
    }

    /** The later of the two first: it moves what is behind it. */
    private void changeValidators(ResponseWriter out) {
        if (etag > ranges) {
            out.insert(etag, WEAK);
        }
        if (ranges >= 0) {
            // A range of the plain bytes does not continue the compressed ones.
            out.remove(ranges, rangesLength);
        }
        if (etag >= 0 && etag < ranges) {
            out.insert(etag, WEAK);
        }
    }

    private void code(ResponseWriter out, int level) {
        out.flags |= level << Abi.GZIP_LEVEL | how.windowBits() << Abi.GZIP_WINDOW;
    }

    private void changeHead(ResponseWriter out) {
        if (accepted) {
            changeValidators(out);
            out.insert(out.head, CODED);
        }
        vary(out);
    }
}
