package org.httpkit.server;

import java.util.Locale;

/** What a request's Accept-Encoding says about gzip (RFC 9110 12.5.3). */
enum AcceptEncoding {
    /** The request has none. */
    UNSAID,
    PLAIN,
    GZIP;

    static AcceptEncoding of(String value) {
        if (value == null) {
            return UNSAID;
        }
        double gzip = -1;
        double any = -1;
        double plain = -1;
        for (String element : value.split(",")) {
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
        return wanted > 0 && wanted >= plain ? GZIP : PLAIN;
    }

    /** The q of a coding; one that is no number counts as 0, the careful choice. */
    private static double weight(String parameters) {
        for (String parameter : parameters.split(";")) {
            String text = parameter.trim();
            if (text.startsWith("q=") || text.startsWith("Q=")) {
                String digits = text.substring(2).trim();
                return digits.matches("[01](\\.[0-9]{0,3})?") ? Double.parseDouble(digits) : 0;
            }
        }
        return 1;
    }
}
