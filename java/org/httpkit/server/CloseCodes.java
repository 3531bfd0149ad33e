package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.Keyword;

/** Why a channel closed, as passed to {@code on-close}. */
final class CloseCodes {
    /** Not a WebSocket code: an HTTP client disconnected. */
    static final int CLIENT_CLOSE = -1;

    private static final int MAX_REASON = 123;

    private CloseCodes() {}

    /**
     * Whether a close frame may carry this code: those of RFC 6455 7.4.1 and its registry that are
     * neither reserved nor for local use only, and 3000-4999.
     */
    static boolean mayBeReceived(int code) {
        return code >= 1000 && code <= 1003
                || code >= 1007 && code <= 1014
                || code >= 3000 && code <= 4999;
    }

    /**
     * Refuses what no frame can carry, and the codes that RFC 6455 7.4.1 reserves. Whether others
     * below 3000 are registered is left to the caller, as in http-kit.
     *
     * @throws IllegalArgumentException for a code outside of 1000-4999, 1004-1006, 1015, or a
     *     reason that is too long
     */
    static void check(int status, String reason) {
        boolean reserved = status >= 1004 && status <= 1006 || status == 1015;
        if (status < 1000 || status > 4999 || reserved) {
            throw new IllegalArgumentException("close code " + status + " must not be sent");
        }
        int length = reason.getBytes(UTF_8).length;
        if (length > MAX_REASON) {
            throw new IllegalArgumentException(
                    "a close reason has at most 123 bytes in UTF-8, this one " + length);
        }
    }

    static Keyword keyword(int code) {
        return Keyword.intern(null, name(code));
    }

    /** Names of RFC 6455 7.4.1, and two of http-kit's own for HTTP. */
    private static String name(int code) {
        switch (code) {
            case 0:
                return "server-close";
            case CLIENT_CLOSE:
                return "client-close";
            case 1000:
                return "normal";
            case 1001:
                return "going-away";
            case 1002:
                return "protocol-error";
            case 1003:
                return "unsupported";
            case 1005:
                return "no-status-received";
            case 1006:
                return "abnormal";
            case 1007:
                return "invalid-payload-data";
            case 1008:
                return "policy-violation";
            case 1009:
                return "message-too-big";
            case 1010:
                return "mandatory-extension";
            case 1011:
                return "internal-server-error";
            case 1015:
                return "tls-handshake";
            default:
                return "unknown";
        }
    }
}
