package org.httpkit;

/**
 * A status code with its reason phrase. Codes with a constant here are always that object, so they
 * can be compared by identity.
 */
public class HttpStatus {
    private static final HttpStatus[] KNOWN = new HttpStatus[600];

    public static final HttpStatus CONTINUE = known(100, "Continue");
    public static final HttpStatus SWITCHING_PROTOCOLS = known(101, "Switching Protocols");
    public static final HttpStatus PROCESSING = known(102, "Processing");

    public static final HttpStatus OK = known(200, "OK");
    public static final HttpStatus CREATED = known(201, "Created");
    public static final HttpStatus ACCEPTED = known(202, "Accepted");
    public static final HttpStatus NON_AUTHORITATIVE_INFORMATION =
            known(203, "Non-Authoritative Information");
    public static final HttpStatus NO_CONTENT = known(204, "No Content");
    public static final HttpStatus RESET_CONTENT = known(205, "Reset Content");
    public static final HttpStatus PARTIAL_CONTENT = known(206, "Partial Content");
    public static final HttpStatus MULTI_STATUS = known(207, "Multi-Status");

    public static final HttpStatus MULTIPLE_CHOICES = known(300, "Multiple Choices");
    public static final HttpStatus MOVED_PERMANENTLY = known(301, "Moved Permanently");
    public static final HttpStatus FOUND = known(302, "Found");
    public static final HttpStatus SEE_OTHER = known(303, "See Other");
    public static final HttpStatus NOT_MODIFIED = known(304, "Not Modified");
    public static final HttpStatus USE_PROXY = known(305, "Use Proxy");
    public static final HttpStatus TEMPORARY_REDIRECT = known(307, "Temporary Redirect");

    public static final HttpStatus BAD_REQUEST = known(400, "Bad Request");
    public static final HttpStatus UNAUTHORIZED = known(401, "Unauthorized");
    public static final HttpStatus PAYMENT_REQUIRED = known(402, "Payment Required");
    public static final HttpStatus FORBIDDEN = known(403, "Forbidden");
    public static final HttpStatus NOT_FOUND = known(404, "Not Found");
    public static final HttpStatus METHOD_NOT_ALLOWED = known(405, "Method Not Allowed");
    public static final HttpStatus NOT_ACCEPTABLE = known(406, "Not Acceptable");
    public static final HttpStatus PROXY_AUTHENTICATION_REQUIRED =
            known(407, "Proxy Authentication Required");
    public static final HttpStatus REQUEST_TIMEOUT = known(408, "Request Timeout");
    public static final HttpStatus CONFLICT = known(409, "Conflict");
    public static final HttpStatus GONE = known(410, "Gone");
    public static final HttpStatus LENGTH_REQUIRED = known(411, "Length Required");
    public static final HttpStatus PRECONDITION_FAILED = known(412, "Precondition Failed");
    public static final HttpStatus REQUEST_ENTITY_TOO_LARGE =
            known(413, "Request Entity Too Large");
    public static final HttpStatus REQUEST_URI_TOO_LONG = known(414, "Request-URI Too Long");
    public static final HttpStatus UNSUPPORTED_MEDIA_TYPE = known(415, "Unsupported Media Type");
    public static final HttpStatus REQUESTED_RANGE_NOT_SATISFIABLE =
            known(416, "Requested Range Not Satisfiable");
    public static final HttpStatus EXPECTATION_FAILED = known(417, "Expectation Failed");
    public static final HttpStatus UNPROCESSABLE_ENTITY = known(422, "Unprocessable Entity");
    public static final HttpStatus LOCKED = known(423, "Locked");
    public static final HttpStatus FAILED_DEPENDENCY = known(424, "Failed Dependency");
    public static final HttpStatus UNORDERED_COLLECTION = known(425, "Unordered Collection");
    public static final HttpStatus UPGRADE_REQUIRED = known(426, "Upgrade Required");

    public static final HttpStatus INTERNAL_SERVER_ERROR = known(500, "Internal Server Error");
    public static final HttpStatus NOT_IMPLEMENTED = known(501, "Not Implemented");
    public static final HttpStatus BAD_GATEWAY = known(502, "Bad Gateway");
    public static final HttpStatus SERVICE_UNAVAILABLE = known(503, "Service Unavailable");
    public static final HttpStatus GATEWAY_TIMEOUT = known(504, "Gateway Timeout");
    public static final HttpStatus HTTP_VERSION_NOT_SUPPORTED =
            known(505, "HTTP Version Not Supported");
    public static final HttpStatus VARIANT_ALSO_NEGOTIATES = known(506, "Variant Also Negotiates");
    public static final HttpStatus INSUFFICIENT_STORAGE = known(507, "Insufficient Storage");
    public static final HttpStatus NOT_EXTENDED = known(510, "Not Extended");

    private final int code;
    private final String reasonPhrase;

    /**
     * @param code 100 to 999
     * @param reasonPhrase without control characters
     * @throws IllegalArgumentException if either is not allowed in a status line
     */
    public HttpStatus(int code, String reasonPhrase) {
        this.code = checkCode(code);
        this.reasonPhrase = HeaderMap.checkValue(reasonPhrase);
    }

    /**
     * @param code 100 to 999
     * @return the constant, or else a new object with a general phrase, such as {@code Client Error
     *     (429)}
     * @throws IllegalArgumentException for any other code
     */
    public static HttpStatus valueOf(int code) {
        HttpStatus known = checkCode(code) < KNOWN.length ? KNOWN[code] : null;
        return known == null ? new HttpStatus(code, general(code) + " (" + code + ")") : known;
    }

    public int getCode() {
        return code;
    }

    public String getReasonPhrase() {
        return reasonPhrase;
    }

    @Override
    public String toString() {
        return code + " " + reasonPhrase;
    }

    private static HttpStatus known(int code, String reasonPhrase) {
        return KNOWN[code] = new HttpStatus(code, reasonPhrase);
    }

    private static int checkCode(int code) {
        if (code < 100 || code > 999) {
            throw new IllegalArgumentException("status code outside 100-999: " + code);
        }
        return code;
    }

    private static String general(int code) {
        switch (code / 100) {
            case 1:
                return "Informational";
            case 2:
                return "Successful";
            case 3:
                return "Redirection";
            case 4:
                return "Client Error";
            case 5:
                return "Server Error";
            default:
                return "Unknown Status";
        }
    }
}
