package org.httpkit;

/** What went wrong while HTTP was spoken with a peer; the base of the checked exceptions here. */
public class HTTPException extends Exception {
    private static final long serialVersionUID = 1L;

    public HTTPException(String message) {
        super(message);
    }
}
