package org.httpkit.server;

import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/**
 * Lines of an access log. They are ASCII: quotes, backslashes, control characters and everything
 * beyond ASCII are escaped, so that what a client sends stays one field of one line.
 */
public enum AccessFormat {
    /** Common Log Format. */
    COMMON {
        @Override
        void line(AccessEntry entry, StringBuilder out) {
            common(entry, out);
            out.append('\n');
        }
    },
    /** The same, then referer and user agent. */
    COMBINED {
        @Override
        void line(AccessEntry entry, StringBuilder out) {
            common(entry, out);
            out.append(' ');
            quoted(out, entry.referer());
            out.append(' ');
            quoted(out, entry.userAgent());
            out.append('\n');
        }
    },
    /** An object with all that is known. */
    JSON {
        @Override
        void line(AccessEntry entry, StringBuilder out) {
            json(entry, out);
            out.append("}\n");
        }
    };

    /** In logs of nginx: the client closed its connection before the response. */
    private static final int CLIENT_CLOSED = 499;

    private static final String HEX = "0123456789abcdef";

    private static final DateTimeFormatter TIME =
            DateTimeFormatter.ofPattern("dd/MMM/yyyy:HH:mm:ss Z", Locale.ENGLISH)
                    .withZone(ZoneId.systemDefault());

    /** Appends a line, with its end. */
    abstract void line(AccessEntry entry, StringBuilder out);

    private static void common(AccessEntry entry, StringBuilder out) {
        String address = entry.remoteAddress();
        out.append(address == null ? "-" : address).append(" - ");
        String user = entry.user();
        if (user == null) {
            out.append('-');
        } else {
            escape(out, user, "\\x", true);
        }
        out.append(" [");
        TIME.formatTo(Instant.ofEpochMilli(entry.time()), out);
        out.append("] ");
        quoted(out, entry.line());
        Integer status = entry.status();
        out.append(' ').append(status == null ? CLIENT_CLOSED : status).append(' ');
        if (entry.bytesOut() == 0) {
            out.append('-');
        } else {
            out.append(entry.bytesOut());
        }
    }

    private static void quoted(StringBuilder out, String text) {
        out.append('"');
        if (text == null) {
            out.append('-');
        } else {
            escape(out, text, "\\x", false);
        }
        out.append('"');
    }

    /**
     * @param code what begins the two digits of other characters
     * @param blanks whether blanks are escaped, too
     */
    private static void escape(StringBuilder out, String text, String code, boolean blanks) {
        for (int i = 0; i < text.length(); i++) {
            char c = text.charAt(i);
            if (c == '"' || c == '\\') {
                out.append('\\').append(c);
            } else if (c < ' ' || c >= 0x7f || (blanks && c == ' ')) {
                out.append(code).append(HEX.charAt(c >> 4 & 15)).append(HEX.charAt(c & 15));
            } else {
                out.append(c);
            }
        }
    }

    private static void json(AccessEntry entry, StringBuilder out) {
        out.append("{\"time\":\"").append(Instant.ofEpochMilli(entry.time())).append('"');
        text(out, "remote-addr", entry.remoteAddress());
        text(out, "user", entry.user());
        text(out, "request-method", entry.method());
        text(out, "uri", entry.uri());
        text(out, "query-string", entry.query());
        text(out, "protocol", entry.protocol());
        text(out, "request-line", entry.line());
        value(out, "status", entry.status());
        value(out, "bytes-in", entry.bytesIn());
        value(out, "bytes-out", entry.bytesOut());
        value(out, "msecs", decimal(entry.msecs()));
        value(out, "handler-msecs", decimal(entry.handlerMsecs()));
        text(out, "host", entry.host());
        text(out, "user-agent", entry.userAgent());
        text(out, "referer", entry.referer());
        text(out, "tls", entry.tls());
        text(out, "end", entry.end());
    }

    /** Without an exponent. */
    private static String decimal(Double number) {
        return number == null ? null : String.format(Locale.ROOT, "%.3f", number);
    }

    private static void value(StringBuilder out, String name, Object value) {
        out.append(",\"").append(name).append("\":").append(value);
    }

    private static void text(StringBuilder out, String name, String text) {
        if (text == null) {
            value(out, name, null);
            return;
        }
        out.append(",\"").append(name).append("\":\"");
        escape(out, text, "\\u00", false);
        out.append('"');
    }
}
