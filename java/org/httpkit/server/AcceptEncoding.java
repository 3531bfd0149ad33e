package org.httpkit.server;

import java.util.Locale;
import java.util.regex.Pattern;

/** What a request's Accept-Encoding says about gzip (RFC 9110 12.5.3). */
enum AcceptEncoding {
    /** The request has none. */
    UNSAID,
    PLAIN,
    GZIP;

    private static final int MOST_ELEMENTS = 64;
    private static final Pattern WEIGHT = Pattern.compile("[01](\\.[0-9]{0,3})?");

    static AcceptEncoding of(String value) {
        if (value == null) {
            return UNSAID;
        }
        double gzip = -1;
        double any = -1;
        double plain = -1;
        for (String element : value.split(",", MOST_ELEMENTS)) {
            int semicolon = element.indexOf(';');
            String coding = semicolon < 0 ? element : element.substring(0, semicolon);
            double weight = semicolon < 0 ? 1 : weight(element.substring(semicolon + 1));
            switch (coding.trim().toLowerCase(Locale.ROOT)) {
                case "gzip":
                case "x-gzip":
                    gzip = Math.max(gzip, weight);
                    break;
                case "*":
                    any = weight;
                    break;
                case "identity":
                    plain = weight;
                    break;
                default:
            }
        }
        double wanted = gzip < 0 ? any : gzip;
        // "*" stands for what is not listed, which may be the plain body.
        double other = plain < 0 && gzip >= 0 ? any : plain;
        return wanted > 0 && wanted >= other ? GZIP : PLAIN;
    }

    /** The q of a coding; one that is not a number counts as 0, the safe choice. */
    private static double weight(String parameters) {
        for (String parameter : parameters.split(";")) {
            String text = parameter.trim();
            if (text.startsWith("q=") || text.startsWith("Q=")) {
                String digits = text.substring(2).trim();
                return WEIGHT.matcher(digits).matches() ? Double.parseDouble(digits) : 0;
            }
        }
        return 1;
    }
}
