package org.httpkit;

import clojure.lang.Keyword;

import java.util.HashMap;
import java.util.Locale;
import java.util.Map;

/** The request methods with a constant. */
public enum HttpMethod {
    GET,
    HEAD,
    POST,
    PUT,
    DELETE,
    TRACE,
    OPTIONS,
    CONNECT,
    PATCH,
    PROPFIND,
    PROPPATCH,
    LOCK,
    UNLOCK,
    REPORT,
    ACL,
    MOVE,
    COPY,
    MKCOL,
    LIST;

    private static final Map<Keyword, HttpMethod> BY_KEYWORD = new HashMap<>();

    static {
        for (HttpMethod method : values()) {
            BY_KEYWORD.put(method.KEY, method);
        }
    }

    /** The method as Ring spells it, such as {@code :get}. */
    public final Keyword KEY = Keyword.intern(name().toLowerCase(Locale.ROOT));

    /**
     * @param keyword lower case, such as {@code :get}
     * @throws RuntimeException for any other, null included
     */
    public static HttpMethod fromKeyword(Keyword keyword) {
        HttpMethod method = BY_KEYWORD.get(keyword);
        if (method == null) {
            throw new RuntimeException("unsupported method " + keyword);
        }
        return method;
    }
}
