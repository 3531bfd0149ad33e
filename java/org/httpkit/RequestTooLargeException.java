package org.httpkit;

/** A request body exceeds {@code :max-body}. */
public class RequestTooLargeException extends HTTPException {
    private static final long serialVersionUID = 1L;

    public RequestTooLargeException(String message) {
        super(message);
    }
}
