package org.httpkit;

import java.net.URI;

/**
 * User, host and port of a URI (RFC 3986 3.2), for names too that {@link URI#getHost} finds no host
 * in: those with an underscore, with a label that ends in a hyphen, or whose last label begins with
 * a digit.
 *
 * <p>Not API.
 */
public final class Authority {
    /** Still percent-encoded, since only so its colon can be told from others; null if none. */
    public final String rawUserInfo;

    /**
     * IPv6 literals keep their brackets; null if there is none that a socket could be connected to.
     */
    public final String host;

    /** -1 if there is none. */
    public final int port;

    private Authority(String rawUserInfo, String host, int port) {
        this.rawUserInfo = rawUserInfo;
        this.host = host;
        this.port = port;
    }

    public static Authority of(URI uri) {
        String raw = uri.getRawAuthority();
        if (uri.getHost() != null || raw == null) {
            return new Authority(uri.getRawUserInfo(), uri.getHost(), uri.getPort());
        }
        int at = raw.indexOf('@');
        int colon = raw.indexOf(':', at + 1);
        String host = raw.substring(at + 1, colon < 0 ? raw.length() : colon);
        String port = colon < 0 ? "" : raw.substring(colon + 1);
        // Longer numbers do not fit an int, and are not ports.
        if (!host.matches("[A-Za-z0-9._~-]+") || !port.matches("[0-9]{0,9}")) {
            return new Authority(null, null, -1);
        }
        return new Authority(
                at < 0 ? null : raw.substring(0, at),
                host,
                port.isEmpty() ? -1 : Integer.parseInt(port));
    }

    /** The host without the brackets of an IPv6 literal. */
    public String bareHost() {
        return host.startsWith("[") ? host.substring(1, host.length() - 1) : host;
    }
}
