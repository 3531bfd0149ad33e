package org.httpkit;

import clojure.lang.Seqable;

import java.util.Collection;

/**
 * Which header values stand for one line per element, in requests and responses alike.
 *
 * <p>Not API.
 */
public final class HeaderValues {
    private HeaderValues() {}

    /** Whether {@code RT.seq} gives the values of the value's lines. */
    public static boolean hasElements(Object value) {
        // First, since nearly all are.
        return !(value instanceof String)
                && (value instanceof Seqable
                        || value instanceof Collection
                        || value instanceof Object[]);
    }
}
