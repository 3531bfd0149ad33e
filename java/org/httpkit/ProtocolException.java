package org.httpkit;

/** A peer, or the caller's own message, breaks the rules of HTTP or WebSocket. */
public class ProtocolException extends HTTPException {
    private static final long serialVersionUID = 1L;

    public ProtocolException(String message) {
        super(message);
    }
}
