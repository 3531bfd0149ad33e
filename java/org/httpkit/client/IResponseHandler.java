package org.httpkit.client;

import java.util.Map;

/** The outcome of a request; {@link RespListener} calls exactly one of the two methods, once. */
public interface IResponseHandler {
    /**
     * @param headers lower-case name to value, repeats joined by a newline
     * @param body as the listener's coercion says; never null
     */
    void onSuccess(int status, Map<String, Object> headers, Object body);

    /** The request failed; see the README for the classes. */
    void onThrowable(Throwable t);
}
