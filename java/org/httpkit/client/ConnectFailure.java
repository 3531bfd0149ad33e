package org.httpkit.client;

import java.io.IOException;
import java.net.ConnectException;
import java.net.InetSocketAddress;
import java.net.NoRouteToHostException;
import java.net.SocketAddress;

/** Adds the address to a connect failure's text, which the JDK and the core leave out. */
final class ConnectFailure {
    private ConnectFailure() {}

    /** The failure with its address, of the same class; any but network failures are unchanged. */
    static IOException named(IOException failure, SocketAddress to) {
        IOException named;
        if (failure.getClass() == ConnectException.class) {
            named = new ConnectException(text(failure.getMessage(), to));
        } else if (failure.getClass() == NoRouteToHostException.class) {
            named = new NoRouteToHostException(text(failure.getMessage(), to));
        } else {
            return failure;
        }
        named.initCause(failure);
        return named;
    }

    static String text(String message, SocketAddress to) {
        return message + ": " + place(to);
    }

    /** {@code host:port}, and the IP address if that is not the host. */
    private static String place(SocketAddress to) {
        if (!(to instanceof InetSocketAddress)) {
            return to.toString();
        }
        InetSocketAddress inet = (InetSocketAddress) to;
        String host = inet.getHostString();
        String place = (host.contains(":") ? "[" + host + "]" : host) + ":" + inet.getPort();
        String ip = inet.isUnresolved() ? host : inet.getAddress().getHostAddress();
        return ip.equals(host) ? place : place + " (" + ip + ")";
    }
}
