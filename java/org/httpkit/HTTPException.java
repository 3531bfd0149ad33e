package org.httpkit;

/** An error in HTTP communication with a peer; the base of the checked exceptions here. */
public class HTTPException extends Exception {
    private static final long serialVersionUID = 1L;

    public HTTPException(String message) {
        super(message);
    }
}
