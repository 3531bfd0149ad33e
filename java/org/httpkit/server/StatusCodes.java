package org.httpkit.server;

/** The :status of responses. */
final class StatusCodes {
    private StatusCodes() {}

    private static boolean isInteger(Object given) {
        return given instanceof Long || given instanceof Integer;
    }

    /** Whether it is not an integer, and so counts as 200. */
    static boolean isIgnored(Object status) {
        return status != null && !isInteger(status);
    }

    /**
     * The status that a response with this :status has.
     *
     * @throws IllegalArgumentException for an integer that is not a final status
     */
    static int of(Object given) {
        if (!isInteger(given)) {
            return 200;
        }
        long status = ((Number) given).longValue();
        if (status < 200 || status > 999) {
            throw new IllegalArgumentException(
                    "response :status " + status + " is not between 200 and 999");
        }
        return (int) status;
    }
}
