package org.httpkit;

/** The header section as a whole exceeds its limit. */
public class HeadersTooLargeException extends ProtocolException {
    private static final long serialVersionUID = 1L;

    public HeadersTooLargeException(String message) {
        super(message);
    }
}
