package org.httpkit.server;

/** The result of a server's drain. */
public final class Drained {
    /** Responses that were completed. */
    public final int requests;

    /** WebSockets that were sent close code 1001. */
    public final int websockets;

    /** Connections that were cut in the middle of a request, response, stream or message. */
    public final int cut;

    Drained(int requests, int websockets, int cut) {
        this.requests = requests;
        this.websockets = websockets;
        this.cut = cut;
    }
}
