package org.httpkit.server;

import static java.nio.charset.StandardCharsets.US_ASCII;

import org.httpkit.HttpUtils;

import java.util.concurrent.ConcurrentHashMap;

/** Maps response header names, as handlers write them, to names as sent. Handlers use few. */
final class WireNames {
    private static final ConcurrentHashMap<String, byte[]> NAMES = new ConcurrentHashMap<>();
    private static final int MAX_NAMES = 1024;

    private WireNames() {}

    /**
     * @throws IllegalArgumentException if it is not a token
     */
    static byte[] of(String name) {
        byte[] known = NAMES.get(name);
        return known != null ? known : checked(name);
    }

    private static byte[] checked(String name) {
        if (!HttpUtils.isToken(name)) {
            String shown = name.isEmpty() ? "it is empty" : printable(name);
            throw new IllegalArgumentException("Invalid HTTP header name: " + shown);
        }
        byte[] wire = HttpUtils.camelCase(name).getBytes(US_ASCII);
        if (NAMES.size() < MAX_NAMES) {
            NAMES.put(name, wire);
        }
        return wire;
    }

    private static String printable(String text) {
        return text.replaceAll("[^\\x20-\\x7e]", "?");
    }
}
