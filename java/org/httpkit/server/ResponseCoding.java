package org.httpkit.server;

import clojure.lang.ISeq;
import clojure.lang.RT;

import org.httpkit.HeaderValues;
import org.httpkit.jni.Abi;

import java.nio.charset.StandardCharsets;
import java.util.Locale;

/**
 * Decides whether one response is compressed, and changes its head accordingly. The native side
 * compresses.
 */
final class ResponseCoding {
    /** Files up to this length are read and compressed; longer ones are sent by the kernel. */
    private static final int MAX_FILE = 1024 * 1024;

    private static final int PARTIAL = 206;

    private static final byte[] CODED = bytes("Content-Encoding: gzip\r\n");
    private static final byte[] VARY = bytes("Vary: Accept-Encoding\r\n");
    private static final byte[] WEAK = bytes("W/");

    private final Compression how;
    private final boolean accepted;

    private String contentType;
    private boolean isForType;
    private boolean excluded;
    private boolean varies;

    /** Where the value of a strong ETag is in the head; -1 for none. */
    private int etag = -1;

    /** Where the line of Accept-Ranges is in the head, and its length; -1 for none. */
    private int ranges = -1;

    private int rangesLength;

    private ResponseCoding(Compression how, boolean accepted) {
        this.how = how;
        this.accepted = accepted;
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
                || status == PARTIAL
                || ResponseWriter.isBodyless(status)
                || terms.accepted() == AcceptEncoding.UNSAID) {
            return null;
        }
        return new ResponseCoding(how, isAccepted(terms));
    }

    private static boolean isAccepted(Terms terms) {
        return !terms.head && terms.accepted() == AcceptEncoding.GZIP;
    }

    /** Whether an event stream with this option would be compressed. */
    static boolean isForEvents(Object own, Terms terms) {
        Compression how = own == null ? terms.compression : Compression.of(own);
        return how != null && !terms.http10 && isAccepted(terms) && how.isFor("text/event-stream");
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
            case "content-encoding":
            case "content-range":
                excluded = true;
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
        isForType = contentType != null && how.isFor(contentType);
    }

    private boolean isEligible() {
        return !excluded && isForType;
    }

    /** Whether to read a file of this length, in order to compress it. */
    boolean wantsFile(long length) {
        return accepted && length >= how.minSize && length <= MAX_FILE && isEligible();
    }

    /** The response has a whole body of this size. */
    void whole(ResponseWriter out, int size) {
        if (size >= how.minSize && isEligible()) {
            change(out, how.levelOfWhole(size));
        }
    }

    /** The body comes piece by piece. */
    void stream(ResponseWriter out) {
        if (isEligible()) {
            change(out, how.levelOfStream());
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

    private void change(ResponseWriter out, int level) {
        if (accepted) {
            changeValidators(out);
            out.insert(out.head, CODED);
            out.flags |= level << Abi.GZIP_LEVEL | how.windowBits() << Abi.GZIP_WINDOW;
        }
        if (!varies) {
            out.insert(out.head, VARY);
        }
    }
}
