package org.httpkit;

/** Content exceeds its limit, at most what one Java array can hold (a little under 2 GiB). */
public class ContentTooLargeException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public ContentTooLargeException(String message) {
        super(message);
    }
}
