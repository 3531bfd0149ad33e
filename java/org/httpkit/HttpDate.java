package org.httpkit;

import java.time.Instant;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;

/** The current date as HTTP writes it (RFC 9110 5.6.7), formatted once per second. */
final class HttpDate {
    private static final DateTimeFormatter FORMAT =
            DateTimeFormatter.ofPattern("EEE, dd MMM yyyy HH:mm:ss 'GMT'", Locale.ENGLISH)
                    .withZone(ZoneOffset.UTC);

    private static volatile HttpDate latest = new HttpDate(0);

    private final long epochSecond;
    private final String text;

    private HttpDate(long epochSecond) {
        this.epochSecond = epochSecond;
        this.text = FORMAT.format(Instant.ofEpochSecond(epochSecond));
    }

    static String now() {
        long second = System.currentTimeMillis() / 1000;
        HttpDate date = latest;
        if (date.epochSecond != second) {
            latest = date = new HttpDate(second);
        }
        return date.text;
    }
}
