package org.httpkit.client;

import org.httpkit.HTTPException;

/** A connect or idle timeout passed before the response was complete. */
public class TimeoutException extends HTTPException {
    private static final long serialVersionUID = 1L;

    public TimeoutException(String message) {
        super(message);
    }
}
