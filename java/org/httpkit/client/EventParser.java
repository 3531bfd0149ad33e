package org.httpkit.client;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;

/**
 * Reads server-sent events from a stream, as the HTML standard says (9.2.6): lines end with CR, LF
 * or CRLF, text is UTF-8 with replacement, an event that the end cuts off is dropped. Not
 * thread-safe, and not API: see {@code org.httpkit.sse/events}.
 */
public final class EventParser implements Closeable {
    private static final String BYTE_ORDER_MARK = "\ufeff";
    private static final int BYTE_ORDER_MARK_BYTES = 3;
    private static final int MAX_RETRY_DIGITS = 9;

    private final InputStream in;
    private final int most;
    private final byte[] buffer = new byte[8192];
    private int at;
    private int end;

    private final ByteArrayOutputStream line = new ByteArrayOutputStream();
    private boolean first = true;

    /** The last line ended with CR: an LF after it belongs to the same line end. */
    private boolean afterCr;

    private final StringBuilder text = new StringBuilder();

    /** Bytes of the text. */
    private long size;

    private String type = "";
    private String id;

    private String event;
    private String data;
    private String lastId;
    private long retry = -1;

    /**
     * @param most bytes of one event's data, or of one line
     * @param lastId until the stream gives one; "" for none
     */
    public EventParser(InputStream in, int most, String lastId) {
        this.in = in;
        this.most = most;
        this.lastId = lastId;
        id = lastId;
    }

    /**
     * Reads up to the next event, which the methods below then describe.
     *
     * @return false at the end
     * @throws IOException if the stream fails, or an event is too long
     */
    public boolean next() throws IOException {
        data = null;
        while (data == null) {
            if (!readLine()) {
                return false;
            }
            String read = line.toString(UTF_8);
            int bytes = line.size();
            line.reset();
            if (first && read.startsWith(BYTE_ORDER_MARK)) {
                read = read.substring(1);
                bytes -= BYTE_ORDER_MARK_BYTES;
            }
            first = false;
            take(read, bytes);
        }
        return true;
    }

    /** Its name, "message" by default. */
    public String event() {
        return event;
    }

    public String data() {
        return data;
    }

    /** The last id so far, whether or not it came with this event; "" without one. */
    public String lastId() {
        return lastId;
    }

    /** The last delay before reconnecting that the stream gave, in msecs; -1 without one. */
    public long retry() {
        return retry;
    }

    @Override
    public void close() throws IOException {
        in.close();
    }

    private boolean readLine() throws IOException {
        while (true) {
            if (at == end && !fill()) {
                return false;
            }
            if (afterCr) {
                afterCr = false;
                if (buffer[at] == '\n') {
                    at++;
                    continue;
                }
            }
            int start = at;
            while (at < end && buffer[at] != '\n' && buffer[at] != '\r') {
                at++;
            }
            line.write(buffer, start, at - start);
            requireRoom(line.size());
            if (at < end) {
                afterCr = buffer[at++] == '\r';
                return true;
            }
        }
    }

    private boolean fill() throws IOException {
        at = 0;
        end = Math.max(0, in.read(buffer, 0, buffer.length));
        return end > 0;
    }

    private void requireRoom(long size) throws IOException {
        if (size > most) {
            throw new IOException("a server-sent event has more than " + most + " bytes");
        }
    }

    private void take(String read, int bytes) throws IOException {
        if (read.isEmpty()) {
            dispatch();
            return;
        }
        int colon = read.indexOf(':');
        String field = colon < 0 ? read : read.substring(0, colon);
        String value = colon < 0 ? "" : read.substring(colon + 1);
        if (value.startsWith(" ")) {
            value = value.substring(1);
        }
        switch (field) {
            case "event":
                type = value;
                break;
            case "data":
                text.append(value).append('\n');
                // What precedes the value is ASCII.
                size += bytes - (read.length() - value.length()) + 1;
                requireRoom(size);
                break;
            case "id":
                if (value.indexOf('\0') < 0) {
                    id = value;
                }
                break;
            case "retry":
                if (value.matches("[0-9]+")) {
                    String digits = value.replaceFirst("^0+(?=.)", "");
                    // More would be weeks.
                    retry =
                            digits.length() > MAX_RETRY_DIGITS
                                    ? Integer.MAX_VALUE
                                    : Long.parseLong(digits);
                }
                break;
            default:
        }
    }

    private void dispatch() {
        lastId = id;
        if (text.length() > 0) {
            data = text.substring(0, text.length() - 1);
            event = type.isEmpty() ? "message" : type;
        }
        text.setLength(0);
        size = 0;
        type = "";
    }
}
