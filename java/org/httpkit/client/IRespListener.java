package org.httpkit.client;

import org.httpkit.HttpStatus;
import org.httpkit.HttpVersion;

import java.util.Map;

/**
 * Receives one response as it arrives. Exactly one of {@link #onCompleted} and {@link #onThrowable}
 * is called, last; calls for one response never overlap.
 */
public interface IRespListener {
    /** The status line; not called for 1xx responses, except 101. */
    void onInitialLineReceived(HttpVersion version, HttpStatus status) throws AbortException;

    /**
     * The header block, and once more with trailers merged in, if there are any.
     *
     * @param headers lower-case name to value, repeats joined by a newline
     */
    void onHeadersReceived(Map<String, Object> headers) throws AbortException;

    /**
     * One piece of the body, never empty, as sent over the wire.
     *
     * @param buf valid during the call only
     * @param length number of bytes, from index 0
     */
    void onBodyReceived(byte[] buf, int length) throws AbortException;

    /** The response is complete. */
    void onCompleted();

    /** The request failed, before or during the response. */
    void onThrowable(Throwable t);
}
