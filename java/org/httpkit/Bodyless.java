package org.httpkit;

/**
 * Which responses never have a body.
 *
 * <p>Not API.
 */
public final class Bodyless {
    private Bodyless() {}

    /** By their status (RFC 9110 6.4.1; 205 by section 15.3.6). */
    public static boolean is(int status) {
        return status < 200 || status == 204 || status == 205 || status == 304;
    }
}
