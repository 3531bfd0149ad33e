package org.httpkit.server;

import clojure.lang.Keyword;

/** Why a channel closed, as {@code on-close} hears it. */
final class CloseCodes {
    /** No WebSocket code: an HTTP client left. */
    static final int CLIENT_CLOSE = -1;

    private CloseCodes() {}

    /** Codes that RFC 6455 7.4.1, its registry, or no document at all has reserved for a use on the wire. */
    static boolean mayBeReceived(int code) {
        return code >= 1000 && code <= 1003
                || code >= 1007 && code <= 1014
                || code >= 3000 && code <= 4999;
    }

    static Keyword keyword(int code) {
        return Keyword.intern(null, name(code));
    }

    /** Names of RFC 6455 7.4.1, and two of http-kit's own for what is no WebSocket. */
    private static String name(int code) {
        switch (code) {
            case 0: return "server-close";
            case CLIENT_CLOSE: return "client-close";
            case 1000: return "normal";
            case 1001: return "going-away";
            case 1002: return "protocol-error";
            case 1003: return "unsupported";
            case 1005: return "no-status-received";
            case 1006: return "abnormal";
            case 1007: return "invalid-payload-data";
            case 1008: return "policy-violation";
            case 1009: return "message-too-big";
            case 1010: return "mandatory-extension";
            case 1011: return "internal-server-error";
            case 1015: return "tls-handshake";
            default: return "unknown";
        }
    }
}
