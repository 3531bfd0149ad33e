package org.httpkit.server;

import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentHashMap;

import java.util.Arrays;
import java.util.Map;

/**
 * Header lines of maps that a thread has responded with before: most are constants in a handler's
 * code. They are recognized by identity, and only maps and values that cannot change are kept.
 */
final class HeaderCache {
    private static final int SIZE = 4;

    /** Longer lines are not kept. */
    private static final int MAX_BYTES = 512;

    private final Lines[] kept = new Lines[SIZE];
    private int nextKept;

    /** The latest maps that were not known. One that comes again is kept. */
    private final Object[] seen = new Object[SIZE];

    private int nextSeen;

    /** What a map is written as. */
    private static final class Lines {
        final Object map;
        final byte[] bytes;
        final int flags;
        final String contentLength;

        Lines(Object map, ResponseWriter out) {
            this.map = map;
            this.bytes = Arrays.copyOf(out.buffer, out.body);
            this.flags = out.flags;
            this.contentLength = out.contentLength;
        }
    }

    /**
     * Writes the lines of a map.
     *
     * @return false if it is not known
     */
    boolean write(Object map, ResponseWriter out) {
        for (Lines lines : kept) {
            if (lines != null && lines.map == map) {
                out.put(lines.bytes);
                out.flags |= lines.flags;
                out.contentLength = lines.contentLength;
                return true;
            }
        }
        return false;
    }

    /** Keeps the lines of a map if it has come before; nothing else has been written. */
    void note(Object map, ResponseWriter out) {
        if (!isRepeated(map)) {
            seen[nextSeen] = map;
            nextSeen = (nextSeen + 1) % SIZE;
        } else if (out.body <= MAX_BYTES && isConstant(map)) {
            kept[nextKept] = new Lines(map, out);
            nextKept = (nextKept + 1) % SIZE;
        }
    }

    private boolean isRepeated(Object map) {
        for (Object other : seen) {
            if (other == map) {
                return true;
            }
        }
        return false;
    }

    /** Whether its lines are always the same; those of Connection depend on the request. */
    private static boolean isConstant(Object map) {
        Class<?> kind = map.getClass();
        if (kind != PersistentArrayMap.class && kind != PersistentHashMap.class) {
            return false;
        }
        for (ISeq s = ((IPersistentMap) map).seq(); s != null; s = s.next()) {
            Map.Entry<?, ?> entry = (Map.Entry<?, ?>) s.first();
            if (!(entry.getValue() instanceof String)
                    || "Connection".equalsIgnoreCase((String) entry.getKey())) {
                return false;
            }
        }
        return true;
    }
}
