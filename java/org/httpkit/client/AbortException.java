package org.httpkit.client;

import org.httpkit.HTTPException;

/** A filter refused the response, or its reader fell too far behind. */
public class AbortException extends HTTPException {
    private static final long serialVersionUID = 1L;

    public AbortException(String message) {
        super(message);
    }
}
