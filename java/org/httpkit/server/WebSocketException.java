package org.httpkit.server;

import org.httpkit.ProtocolException;

/** A peer breaks the WebSocket protocol; has the close code to send it (RFC 6455 7.4). */
public class WebSocketException extends ProtocolException {
    private static final long serialVersionUID = 1L;

    private final int closeStatus;

    public WebSocketException(int closeStatus, String message) {
        super(message);
        this.closeStatus = closeStatus;
    }

    /**
     * @return the code for the close frame, such as 1002 or 1009
     */
    public int getCloseStatus() {
        return closeStatus;
    }
}
