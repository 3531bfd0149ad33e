package org.httpkit;

import static java.nio.charset.StandardCharsets.US_ASCII;
import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.charset.Charset;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Which charset a Content-Type or a document names. */
final class Charsets {
    private static final int SNIFFED_BYTES = 512;

    /** Possessive throughout: a hostile header must not make it backtrack. */
    private static final Pattern PARAMETER =
            Pattern.compile(
                    "\\s*+([^\\s;=\"]*+)\\s*+"
                        + "(?:=\\s*+(?:\"((?:[^\"\\\\]|\\\\.)*+)\"?+|([^;]*+)))?+[^;]*+(?:;|\\z)",
                    Pattern.DOTALL);

    private static final Pattern HTML = Pattern.compile("charset=([^\"]*+)\"");
    private static final Pattern XML = Pattern.compile("encoding=(['\"])([^'\"]*+)\\1");

    private Charsets() {}

    /**
     * @return the unescaped text of the first charset parameter, null if missing or empty
     */
    static String parameter(String contentType) {
        if (contentType == null) {
            return null;
        }
        Matcher matcher = PARAMETER.matcher(contentType);
        while (matcher.lookingAt() && matcher.end() > matcher.start()) {
            if ("charset".equalsIgnoreCase(matcher.group(1))) {
                String name = name(matcher);
                return name.isEmpty() ? null : name;
            }
            matcher.region(matcher.end(), contentType.length());
        }
        return null;
    }

    /**
     * @return null if the charset is unknown here, or the name is null or invalid
     */
    static Charset forName(String name) {
        try {
            return name == null ? null : Charset.forName(name);
        } catch (IllegalArgumentException unknownOrNoName) {
            return null;
        }
    }

    static Charset detect(Object contentType, DynamicBytes body) {
        Charset charset =
                contentType instanceof String ? forName(parameter((String) contentType)) : null;
        if (charset != null) {
            return charset;
        }
        int n = Math.min(SNIFFED_BYTES, body.length());
        String beginning = new String(body.get(), 0, n, US_ASCII);
        charset = find(HTML, 1, beginning);
        if (charset == null) {
            charset = find(XML, 2, beginning);
        }
        return charset == null ? UTF_8 : charset;
    }

    private static String name(Matcher matcher) {
        if (matcher.group(2) != null) {
            return matcher.group(2).replaceAll("\\\\(.)", "$1").trim();
        }
        return matcher.group(3) == null ? "" : matcher.group(3).trim();
    }

    private static Charset find(Pattern pattern, int group, String text) {
        Matcher matcher = pattern.matcher(text);
        return matcher.find() ? forName(matcher.group(group)) : null;
    }
}
