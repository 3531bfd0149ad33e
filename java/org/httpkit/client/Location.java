package org.httpkit.client;

import java.net.URI;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Locale;

/**
 * Where a redirect leads: the reference in a Location header (RFC 9110 10.2.2), resolved against
 * the URL of its request as RFC 3986 5.2 says. {@link URI#resolve} follows an older RFC.
 *
 * <p>Not API.
 */
public final class Location {
    private Location() {}

    /**
     * @param base an absolute URL
     * @param header the header's value, a char per byte
     * @return the URL to request next, with the reference's fragment, in ASCII
     * @throws IllegalArgumentException caused by a URISyntaxException, if one of them is not a URI
     */
    public static String resolve(String base, String header) {
        // What is put together is checked too: "http://#" is a URI, and without its empty
        // authority no more.
        return URI.create(resolved(URI.create(base), URI.create(ascii(header)))).toString();
    }

    private static String resolved(URI from, URI to) {
        boolean absolute = to.getScheme() != null;
        if (absolute && to.getRawAuthority() == null) {
            // Without its empty authority, the path of "http:////host/x" would name a host.
            return to.toString();
        } else if (absolute) {
            return text(
                    to.getScheme(),
                    to.getRawAuthority(),
                    withoutDots(to.getRawPath()),
                    to.getRawQuery(),
                    to);
        } else if (to.getRawAuthority() != null) {
            return text(
                    from.getScheme(),
                    to.getRawAuthority(),
                    withoutDots(to.getRawPath()),
                    to.getRawQuery(),
                    to);
        } else if (to.getRawPath().isEmpty()) {
            String query = to.getRawQuery() == null ? from.getRawQuery() : to.getRawQuery();
            return text(from.getScheme(), from.getRawAuthority(), from.getRawPath(), query, to);
        }
        return text(
                from.getScheme(),
                from.getRawAuthority(),
                withoutDots(merged(from, to)),
                to.getRawQuery(),
                to);
    }

    /** Percent-encodes non-ASCII bytes: as they are if UTF-8, else as ISO-8859-1 characters. */
    private static String ascii(String header) {
        byte[] bytes = header.getBytes(StandardCharsets.ISO_8859_1);
        StringBuilder out = new StringBuilder(bytes.length);
        for (byte b : isUtf8(bytes) ? bytes : header.getBytes(StandardCharsets.UTF_8)) {
            if (b >= 0) {
                out.append((char) b);
            } else {
                out.append(String.format(Locale.ROOT, "%%%02X", b));
            }
        }
        return out.toString();
    }

    private static boolean isUtf8(byte[] bytes) {
        try {
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes));
            return true;
        } catch (CharacterCodingException e) {
            return false;
        }
    }

    /** RFC 3986 5.2.3, for an absolute path too. */
    private static String merged(URI from, URI to) {
        String path = to.getRawPath();
        if (path.startsWith("/")) {
            return path;
        }
        String base = from.getRawPath();
        return base.isEmpty() ? "/" + path : base.substring(0, base.lastIndexOf('/') + 1) + path;
    }

    /** RFC 3986 5.2.4, for paths that are absolute or empty. */
    private static String withoutDots(String path) {
        StringBuilder out = new StringBuilder(path.length());
        for (int at = 0; at < path.length(); ) {
            int slash = path.indexOf('/', at + 1);
            int end = slash < 0 ? path.length() : slash;
            String segment = path.substring(at, end);
            boolean up = segment.equals("/..");
            if (up) {
                out.setLength(Math.max(0, out.lastIndexOf("/")));
            }
            if (!up && !segment.equals("/.")) {
                out.append(segment);
            } else if (slash < 0) {
                out.append('/');
            }
            at = end;
        }
        return out.toString();
    }

    private static String text(String scheme, String authority, String path, String query, URI to) {
        String fragment = to.getRawFragment();
        return scheme
                + ":"
                + (authority == null ? "" : "//" + authority)
                + path
                + (query == null ? "" : "?" + query)
                + (fragment == null ? "" : "#" + fragment);
    }
}
