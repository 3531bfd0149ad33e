package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.charset.CharsetEncoder;
import java.nio.charset.CodingErrorAction;

/** Encodes texts that are mostly ASCII as {@code getBytes} does, but into an array that is kept. */
final class TextEncoder {
    /** Before, Java has no fast encoder for ASCII but that of {@code getBytes}. */
    static final boolean IS_FAST = Runtime.version().feature() >= 17;

    private static final int STEP = 256;

    private final CharsetEncoder encoder =
            UTF_8.newEncoder().onMalformedInput(CodingErrorAction.REPLACE);
    private final CharBuffer chars = CharBuffer.allocate(STEP);

    /** Bytes that a text of this length may take. */
    static int room(int length) {
        return length + length / 4 + 16;
    }

    /**
     * @return the number of bytes; -1 if a part of the text is mostly not ASCII: for that, {@code
     *     getBytes} is faster
     */
    int encode(String text, byte[] into, int at) {
        int length = text.length();
        ByteBuffer bytes = ByteBuffer.wrap(into, at, room(length));
        int end = bytes.limit();
        encoder.reset();
        int from = 0;
        while (from < length) {
            int n = Math.min(length - from, STEP);
            text.getChars(from, from + n, chars.array(), 0);
            chars.position(0).limit(n);
            bytes.limit(Math.min(end, bytes.position() + room(n)));
            if (encoder.encode(chars, bytes, from + n == length).isOverflow()) {
                return -1;
            }
            // The first half of a surrogate pair remains.
            from += chars.position();
        }
        return bytes.position() - at;
    }
}
