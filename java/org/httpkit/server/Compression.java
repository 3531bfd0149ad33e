package org.httpkit.server;

import clojure.lang.Fn;
import clojure.lang.IFn;
import clojure.lang.Keyword;
import clojure.lang.MultiFn;
import clojure.lang.RT;
import clojure.lang.Var;

import java.util.Collection;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/** How responses are compressed: the value of an option {@code :compression}. */
public final class Compression {
    /** The codings that are built in. */
    private static final String GZIP = "gzip";

    private static final Compression DEFAULT = new Compression();
    private static final int MAX_LEVEL = 9;
    private static final int MIN_BITS = 9;
    private static final int MAX_BITS = 15;
    private static final int STREAM_BITS = 13;
    private static final int STREAM_LEVEL = 1;
    private static final int WHOLE_LEVEL = 6;

    /** Whole bodies beyond this get the level of streams. */
    private static final int SHORT = 64 * 1024;

    private static final Set<String> TYPES =
            Set.of(
                    "application/json",
                    "application/javascript",
                    "application/ecmascript",
                    "application/xml",
                    "application/wasm",
                    "application/x-ndjson",
                    "application/graphql",
                    "application/rtf");

    /** 0 for the default, which depends on the body. */
    private int level;

    /** Bytes of the shortest whole body that is compressed: shorter ones fit one packet anyway. */
    int minSize = 860;

    private int windowBits = STREAM_BITS;

    /** A Set of types, or a function of one; null for the default. */
    private Object types;

    private Compression() {}

    /**
     * @param value true, false, null or a map of options
     * @return null for false and null
     * @throws IllegalArgumentException for anything else; the message names the option, its value
     *     and what is allowed
     */
    public static Compression of(Object value) {
        if (value == null || Boolean.FALSE.equals(value)) {
            return null;
        }
        if (Boolean.TRUE.equals(value)) {
            return DEFAULT;
        }
        if (!(value instanceof Map)) {
            throw wrong("", value, "true, false, or a map of options");
        }
        Compression compression = new Compression();
        for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
            if (entry.getValue() != null) {
                compression.set(entry.getKey(), entry.getValue());
            }
        }
        return compression;
    }

    private void set(Object key, Object value) {
        switch (key instanceof Keyword ? key.toString() : "") {
            case ":encodings":
                checkEncodings(value);
                break;
            case ":level":
                level = number(" :level", levelOf(value), 1, MAX_LEVEL);
                break;
            case ":min-size":
                minSize = number(" :min-size", value, 0, Integer.MAX_VALUE);
                break;
            case ":types":
                if (!(value instanceof Set || isFunction(value))) {
                    throw wrong(" :types", value, "a set of media types, or a function of one");
                }
                types = value;
                break;
            case ":window-bits":
                windowBits = number(" :window-bits", value, MIN_BITS, MAX_BITS);
                break;
            default:
                throw wrong("", key, "one of :encodings, :level, :min-size, :types, :window-bits");
        }
    }

    /** Vectors and keywords can be called too, but not with a type. */
    private static boolean isFunction(Object value) {
        return value instanceof Fn || value instanceof MultiFn || value instanceof Var;
    }

    private static Object levelOf(Object value) {
        if (!(value instanceof Map)) {
            return value;
        }
        for (Object coding : ((Map<?, ?>) value).keySet()) {
            checkCoding(" :level", coding);
        }
        return ((Map<?, ?>) value).get(GZIP);
    }

    private static void checkEncodings(Object value) {
        if (!(value instanceof Collection) || ((Collection<?>) value).isEmpty()) {
            throw wrong(" :encodings", value, "a vector of codings; built in is \"gzip\"");
        }
        for (Object coding : (Collection<?>) value) {
            checkCoding(" :encodings", coding);
        }
    }

    private static void checkCoding(String option, Object coding) {
        if (!GZIP.equals(coding)) {
            throw wrong(option, coding, "\"gzip\", the only coding that is built in");
        }
    }

    private static int number(String option, Object value, int least, int most) {
        boolean whole = value instanceof Long || value instanceof Integer || value instanceof Short;
        if (!whole || ((Number) value).longValue() < least || ((Number) value).longValue() > most) {
            throw wrong(option, value, "an integer from " + least + " to " + most);
        }
        return ((Number) value).intValue();
    }

    private static IllegalArgumentException wrong(String option, Object value, String expected) {
        String shown = RT.printString(value);
        String text = shown.length() > 60 ? "of class " + value.getClass().getName() : shown;
        return new IllegalArgumentException(
                ":compression" + option + " " + text + ": expected " + expected);
    }

    /** Whether bodies with this Content-Type are compressed. */
    boolean isFor(String contentType) {
        int semicolon = contentType.indexOf(';');
        String type = semicolon < 0 ? contentType : contentType.substring(0, semicolon);
        type = type.trim().toLowerCase(Locale.ROOT);
        if (types == null) {
            return type.startsWith("text/")
                    || type.endsWith("+json")
                    || type.endsWith("+xml")
                    || TYPES.contains(type);
        }
        return types instanceof Set
                ? ((Set<?>) types).contains(type)
                : RT.booleanCast(((IFn) types).invoke(type));
    }

    int levelOfStream() {
        return level > 0 ? level : STREAM_LEVEL;
    }

    int levelOfWhole(long size) {
        return level > 0 ? level : size <= SHORT ? WHOLE_LEVEL : STREAM_LEVEL;
    }

    int windowBits() {
        return windowBits;
    }
}
