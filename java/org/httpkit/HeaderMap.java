package org.httpkit;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.ISeq;
import clojure.lang.RT;

import java.util.Arrays;
import java.util.Map;
import java.util.function.Predicate;

/**
 * Headers of one message, in insertion order. A name may occur more than once; look-up finds the
 * first, and is case-sensitive. For one thread at a time.
 */
public class HeaderMap {
    private static final int INITIAL_SIZE = 8;

    private String[] names = new String[INITIAL_SIZE];
    private Object[] values = new Object[INITIAL_SIZE];
    private int size;

    /**
     * @return the entries of {@code headers}, null for none, under camel-cased names
     */
    public static HeaderMap camelCase(Map<String, Object> headers) {
        HeaderMap map = new HeaderMap();
        if (headers != null) {
            for (Map.Entry<String, Object> header : headers.entrySet()) {
                map.put(HttpUtils.camelCase(header.getKey()), header.getValue());
            }
        }
        return map;
    }

    /** Adds a header, and keeps any with the same name. */
    public void put(String name, Object value) {
        if (size == names.length) {
            names = Arrays.copyOf(names, 2 * size);
            values = Arrays.copyOf(values, 2 * size);
        }
        names[size] = name;
        values[size++] = value;
    }

    /** Sets the value of the first header of that name, or adds one. */
    public void putOrReplace(String name, Object value) {
        int i = indexOf(name);
        if (i < 0) {
            put(name, value);
        } else {
            values[i] = value;
        }
    }

    /**
     * @return the first value, null if there is none or if it is null
     */
    public Object get(String name) {
        int i = indexOf(name);
        return i < 0 ? null : values[i];
    }

    public boolean containsKey(String name) {
        return indexOf(name) >= 0;
    }

    /**
     * @return whether the first value of that name is a list (RFC 9110 5.6.1) with the token, in
     *     any case
     */
    public boolean containsToken(String name, String token) {
        Object value = get(name);
        if (value != null) {
            for (String element : value.toString().split(",")) {
                if (element.trim().equalsIgnoreCase(token)) {
                    return true;
                }
            }
        }
        return false;
    }

    public boolean isEmpty() {
        return size == 0;
    }

    /** Removes every header of that name. */
    public void remove(String name) {
        removeIf(name::equals);
    }

    public void clear() {
        truncate(0);
    }

    /**
     * Writes {@code name: value} lines and the empty line that ends them, in UTF-8. A Seqable, a
     * Collection and an array make one line per element, a null value none.
     *
     * @throws IllegalArgumentException if a name is not a token, or a value has a control character
     *     other than TAB (RFC 9110 5.1, 5.5); {@code out} then contains some of the lines
     * @throws NullPointerException if an element is null
     */
    public void encodeHeaders(DynamicBytes out) {
        for (int i = 0; i < size; i++) {
            Object value = values[i];
            if (HeaderValues.hasElements(value)) {
                for (ISeq s = RT.seq(value); s != null; s = s.next()) {
                    encode(out, names[i], HeaderValues.text(names[i], s.first()));
                }
            } else if (value != null) {
                encode(out, names[i], HeaderValues.text(names[i], value));
            }
        }
        out.append((byte) '\r', (byte) '\n');
    }

    /**
     * @return the name
     * @throws IllegalArgumentException unless it is a token (RFC 9110 5.6.2)
     */
    public static String checkName(String name) {
        if (!HttpUtils.isToken(name)) {
            throw new IllegalArgumentException("Invalid HTTP header name: " + name);
        }
        return name;
    }

    /**
     * @return the value
     * @throws IllegalArgumentException if it has a control character other than TAB
     */
    public static String checkValue(String value) {
        if (controlIn(value) >= 0) {
            throw new IllegalArgumentException("Invalid character in HTTP header value");
        }
        return value;
    }

    /**
     * @return the value of the header with this name
     * @throws IllegalArgumentException as {@link #badValue} makes it, if it has a control character
     *     other than TAB
     */
    public static String checkValue(String name, String value) {
        if (controlIn(value) >= 0) {
            throw badValue(name, value);
        }
        return value;
    }

    /**
     * The exception for a value that has a control character: it names the header, and keeps the
     * value, which may be private, out of logs and responses.
     */
    public static IllegalArgumentException badValue(String name, String value) {
        return new IllegalArgumentException(
                "Invalid character in HTTP header value: "
                        + name
                        + " has a control character at index "
                        + controlIn(value));
    }

    /**
     * @return the index of the first control character other than TAB; -1 if there is none
     */
    private static int controlIn(String value) {
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c < ' ' && c != '\t' || c == 0x7f) {
                return i;
            }
        }
        return -1;
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder("{");
        for (int i = 0; i < size; i++) {
            text.append(i == 0 ? "" : ", ").append(names[i]).append(": ").append(values[i]);
        }
        return text.append('}').toString();
    }

    /** For framing headers, which must be removed in any spelling. */
    void removeIgnoringCase(String name) {
        removeIf(name::equalsIgnoreCase);
    }

    Object getIgnoringCase(String name) {
        for (int i = 0; i < size; i++) {
            if (names[i].equalsIgnoreCase(name)) {
                return values[i];
            }
        }
        return null;
    }

    private void removeIf(Predicate<String> unwanted) {
        int kept = 0;
        for (int i = 0; i < size; i++) {
            if (!unwanted.test(names[i])) {
                names[kept] = names[i];
                values[kept++] = values[i];
            }
        }
        truncate(kept);
    }

    private int indexOf(String name) {
        for (int i = 0; i < size; i++) {
            if (names[i].equals(name)) {
                return i;
            }
        }
        return -1;
    }

    private void truncate(int kept) {
        Arrays.fill(names, kept, size, null);
        Arrays.fill(values, kept, size, null);
        size = kept;
    }

    private static void encode(DynamicBytes out, String name, String value) {
        out.append(checkName(name));
        out.append((byte) ':', (byte) ' ');
        out.append(checkValue(name, value), UTF_8);
        out.append((byte) '\r', (byte) '\n');
    }
}
