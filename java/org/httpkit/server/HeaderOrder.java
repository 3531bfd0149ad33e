package org.httpkit.server;

import clojure.lang.Util;

import java.io.Serializable;
import java.util.Comparator;

/**
 * The key order of the map of a request with many headers: Strings by their characters, then any
 * other keys that a program adds.
 *
 * <p>Peers choose the names, and could choose thousands that share one hash. A hash map would then
 * compare each of them with all others.
 */
final class HeaderOrder implements Comparator<Object>, Serializable {
    private static final long serialVersionUID = 1L;

    static final HeaderOrder ORDER = new HeaderOrder();

    private HeaderOrder() {}

    @Override
    public int compare(Object a, Object b) {
        boolean text = a instanceof String;
        if (text && b instanceof String) {
            return ((String) a).compareTo((String) b);
        }
        if (text || b instanceof String) {
            return text ? -1 : 1;
        }
        return Util.equiv(a, b) ? 0 : compareStrangers(a, b);
    }

    /** Only a program's own keys come here: their hashes nearly always tell them apart. */
    private static int compareStrangers(Object a, Object b) {
        int order = Integer.compare(Util.hasheq(a), Util.hasheq(b));
        if (order == 0) {
            order = className(a).compareTo(className(b));
        }
        if (order == 0) {
            order = Integer.compare(System.identityHashCode(a), System.identityHashCode(b));
        }
        return order == 0 ? 1 : order;
    }

    private static String className(Object key) {
        return key == null ? "" : key.getClass().getName();
    }

    private Object readResolve() {
        return ORDER;
    }
}
