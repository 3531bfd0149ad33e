package org.httpkit.logger;

import java.util.Map;

/** The names under which events are logged; each can be replaced. */
public class EventNames {
    public static final EventNames DEFAULT = new EventNames(Map.of());

    public final String serverAcceptError;
    public final String serverLoopError;
    public final String serverWsDecodeError;
    public final String serverWsFrameError;
    public final String serverChannelCloseError;
    public final String serverTlsHandshakeError;
    public final String serverTlsReload;

    /** Followed by the status code of the response. */
    public final String serverStatusPrefix;

    public final String serverStatus404;
    public final String serverStatus413;
    public final String serverStatus414;
    public final String serverStatus500;
    public final String serverStatus503;
    public final String serverStatus503Todo;

    /** Followed by the kind of time limit: header, idle, body, write, handler or ws. */
    public final String serverTimeoutPrefix;

    public final String clientImpossible;

    /**
     * @param names from the name of a field here to the event's name; other keys are ignored
     * @throws ClassCastException for one that is no String, as in http-kit; the message names it
     */
    public EventNames(Map<String, String> names) {
        serverAcceptError = name(names, "serverAcceptError", "httpkit.server.accept.error");
        serverLoopError = name(names, "serverLoopError", "httpkit.server.loop.error");
        serverWsDecodeError = name(names, "serverWsDecodeError", "httpkit.server.ws.decode.error");
        serverWsFrameError = name(names, "serverWsFrameError", "httpkit.server.ws.frame.error");
        serverChannelCloseError =
                name(names, "serverChannelCloseError", "httpkit.server.channel.close.error");
        serverTlsHandshakeError =
                name(names, "serverTlsHandshakeError", "httpkit.server.tls.handshake.error");
        serverTlsReload = name(names, "serverTlsReload", "httpkit.server.tls.reload");
        serverStatusPrefix = name(names, "serverStatusPrefix", "httpkit.server.status.processed.");
        serverStatus404 = name(names, "serverStatus404", "httpkit.server.status.404");
        serverStatus413 = name(names, "serverStatus413", "httpkit.server.status.413");
        serverStatus414 = name(names, "serverStatus414", "httpkit.server.status.414");
        serverStatus500 = name(names, "serverStatus500", "httpkit.server.status.500");
        serverStatus503 = name(names, "serverStatus503", "httpkit.server.status.503");
        serverStatus503Todo = name(names, "serverStatus503Todo", "httpkit.server.status.503.todo");
        serverTimeoutPrefix = name(names, "serverTimeoutPrefix", "httpkit.server.timeout.");
        clientImpossible = name(names, "clientImpossible", "httpkit.client.impossible");
    }

    private static String name(Map<?, ?> names, String field, String standard) {
        Object given = names.get(field);
        if (given == null || given instanceof String) {
            return given == null ? standard : (String) given;
        }
        String kind = given.getClass().getName();
        throw new ClassCastException(
                ":event-names \"" + field + "\" of class " + kind + ": expected a String");
    }
}
