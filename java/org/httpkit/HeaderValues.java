package org.httpkit;

import clojure.lang.ISeq;
import clojure.lang.RT;
import clojure.lang.Seqable;

import java.util.Collection;

/**
 * What names and values of headers may be, in requests and responses alike.
 *
 * <p>Not API.
 */
public final class HeaderValues {
    private HeaderValues() {}

    /** Whose header it is, {@code "request"} or {@code "response"}, is part of the message. */
    public static String name(String whose, Object key) {
        if (key instanceof String) {
            return (String) key;
        }
        if (key == null) {
            throw new NullPointerException(
                    whose + " header nil: its name is nil, expected a String");
        }
        String kind = key.getClass().getName();
        throw new ClassCastException(
                whose
                        + " header "
                        + key
                        + ": its name is of class "
                        + kind
                        + ", expected a String");
    }

    /** Whether {@code RT.seq} gives the values of the value's lines. */
    public static boolean hasElements(Object value) {
        // First, since nearly all are.
        return !(value instanceof String)
                && (value instanceof Seqable
                        || value instanceof Collection
                        || value instanceof Object[]);
    }

    /** The text of a value, or of one of its elements: other arrays than those have none. */
    public static String text(String name, Object value) {
        if (value.getClass().isArray()) {
            throw new IllegalArgumentException(
                    "Invalid HTTP header value: "
                            + name
                            + " is of class "
                            + value.getClass().getTypeName()
                            + ", expected a String or a seq of Strings");
        }
        return value.toString();
    }

    /** The value, or its only element; null if it has none or several. */
    public static Object single(Object value) {
        if (!hasElements(value)) {
            return value;
        }
        ISeq s = RT.seq(value);
        return s == null || s.next() != null ? null : s.first();
    }
}
