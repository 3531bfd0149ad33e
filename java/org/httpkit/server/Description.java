package org.httpkit.server;

import org.httpkit.jni.Native;
import org.httpkit.server.HttpServer.Status;

import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.util.Locale;

/** What {@link HttpServer#toString} says of a server. */
final class Description {
    private Description() {}

    static String of(HttpServer server, Status now, int port) {
        boolean shut = server.workers.isShut();
        String state =
                now == Status.STOPPED && !shut
                        ? "not started"
                        : now.name().toLowerCase(Locale.ROOT);
        int connections =
                now == Status.STOPPED && shut ? 0 : Native.serverConnections(server.handle);
        String counts = ", connections " + connections + ", channels " + server.channels.count();
        String where = where(server.options, port);
        return server.getClass().getName() + "[" + where + ", " + state + counts + "]";
    }

    private static String where(ServerOptions options, int port) {
        if (options.listenSocket >= 0) {
            return socket(options.listenSocket, port);
        }
        if (options.unixSocket != null) {
            return options.unixSocket;
        }
        SocketAddress address = options.address == null ? options.tlsAddress : options.address;
        if (address instanceof InetSocketAddress) {
            String host = ((InetSocketAddress) address).getAddress().getHostAddress();
            return (host.indexOf(':') < 0 ? host : "[" + host + "]") + ":" + port;
        }
        return address == null ? socket(options.tlsListenSocket, port) : address.toString();
    }

    private static String socket(int descriptor, int port) {
        return "socket " + descriptor + (port < 0 ? "" : ", port " + port);
    }
}
