package org.httpkit;

/** One start line, header line or chunk-size line exceeds its limit. */
public class LineTooLargeException extends HTTPException {
    private static final long serialVersionUID = 1L;

    public LineTooLargeException(String message) {
        super(message);
    }
}
