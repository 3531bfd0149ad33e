package org.httpkit.server;

import org.httpkit.jni.Native;

import java.util.Map;

/** Responses before the response: 103 with links, for example. */
public final class Informational {
    private Informational() {}

    /**
     * Sends one.
     *
     * @param status 100 to 199, but 101
     * @param headers as of a response; or null
     * @return false if nothing was sent: the exchange is over, its response has begun, its peer
     *     speaks HTTP/1.0, or the channel has no connection
     */
    public static boolean send(AsyncChannel channel, int status, Map<?, ?> headers) {
        if (channel.server == null) {
            return false;
        }
        ResponseWriter out = channel.server.writers.borrow();
        try {
            out.lines(headers);
            return Native.inform(channel.handle(), status, out.buffer, out.head);
        } finally {
            channel.server.writers.giveBack(out);
        }
    }
}
