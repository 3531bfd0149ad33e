package org.httpkit.server;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.HeaderMap;

import java.util.Arrays;

/** The bytes of a response's head, with a short body behind them, in one reusable array. */
class HeadBuffer {
    /** Characters up to which text is copied one by one. */
    private static final int SHORT = 128;

    byte[] buffer = new byte[1024];

    /** Size of the head once it is complete; 0 before. */
    int head;

    /** Size of what is behind the head; before it is complete, of its lines so far. */
    int body;

    private TextEncoder encoder;

    /** Appends a value: one byte per character while it is ASCII, UTF-8 otherwise. */
    final void value(byte[] name, String value) {
        int length = value.length();
        reserve(length);
        int at = body;
        for (int i = 0; i < length; i++) {
            char c = value.charAt(i);
            if (c < ' ' && c != '\t' || c == 0x7f) {
                throw HeaderMap.badValue(new String(name, US_ASCII), value);
            }
            if (c > 0x7f) {
                wideValue(name, value, i, at);
                return;
            }
            buffer[at++] = (byte) c;
        }
        body = at;
    }

    private void wideValue(byte[] name, String value, int from, int at) {
        for (int i = from; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c < ' ' && c != '\t' || c == 0x7f) {
                throw HeaderMap.badValue(new String(name, US_ASCII), value);
            }
        }
        body = at;
        put(value.substring(from).getBytes(UTF_8));
    }

    /**
     * Puts text behind the complete head, without an array of its own.
     *
     * @return false if it would be faster with one
     */
    final boolean textBody(String text) {
        int length = text.length();
        if (length <= SHORT) {
            return shortBody(text);
        }
        if (!TextEncoder.IS_FAST) {
            return false;
        }
        if (encoder == null) {
            encoder = new TextEncoder();
        }
        makeRoom(TextEncoder.room(length));
        int encoded = encoder.encode(text, buffer, head);
        body = Math.max(0, encoded);
        return encoded >= 0;
    }

    /**
     * @return false if it is not ASCII
     */
    private boolean shortBody(String text) {
        int length = text.length();
        makeRoom(length);
        for (int i = 0; i < length; i++) {
            char c = text.charAt(i);
            if (c > 0x7f) {
                return false;
            }
            buffer[head + i] = (byte) c;
        }
        body = length;
        return true;
    }

    /** For a body of this size behind the complete head. */
    final void makeRoom(int n) {
        if (buffer.length < head + n) {
            buffer = Arrays.copyOf(buffer, head + n);
        }
    }

    /** Inserts bytes into the head; a body that follows it is moved. */
    final void insert(int at, byte[] bytes) {
        int end = head + body;
        if (buffer.length < end + bytes.length) {
            buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, end + bytes.length));
        }
        System.arraycopy(buffer, at, buffer, at + bytes.length, end - at);
        System.arraycopy(bytes, 0, buffer, at, bytes.length);
        head += bytes.length;
    }

    /** Takes bytes out of the head; a body that follows it is moved. */
    final void remove(int at, int n) {
        System.arraycopy(buffer, at + n, buffer, at, head + body - at - n);
        head -= n;
    }

    /** Where the head has a line that starts with these bytes, ignoring case; -1 if nowhere. */
    final int indexOf(byte[] line) {
        for (int at = 0; at <= head - line.length; at++) {
            int same = 0;
            while (same < line.length && (buffer[at + same] | 0x20) == (line[same] | 0x20)) {
                same++;
            }
            if (same == line.length && (at == 0 || buffer[at - 1] == '\n')) {
                return at;
            }
        }
        return -1;
    }

    final void put(byte[] bytes) {
        reserve(bytes.length);
        System.arraycopy(bytes, 0, buffer, body, bytes.length);
        body += bytes.length;
    }

    private void reserve(int n) {
        if (buffer.length - body < n) {
            buffer = Arrays.copyOf(buffer, Math.max(buffer.length * 2, body + n));
        }
    }
}
