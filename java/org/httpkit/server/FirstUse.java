package org.httpkit.server;

import java.io.IOException;
import java.nio.channels.SelectionKey;
import java.util.Collections;
import java.util.Map;

/**
 * Uses, while a server is made, what a handler could be the first to use.
 *
 * <p>A handler may do so where hardly any stack is left, as in what catches a {@code
 * StackOverflowError}. If that ends the initialisation of a class, or the linking of a lambda, the
 * JVM refuses every later use of it. So what every send uses is used here, and {@link Sender} has
 * no lambdas to be linked later.
 */
final class FirstUse {
    private FirstUse() {}

    static void rehearse(HttpServer server) throws IOException {
        AsyncChannel closed = new AsyncChannel((SelectionKey) null, server);
        Map<?, ?> response = Map.of(ResponseWriter.HEADERS, Map.of("x", "x"));
        new ResponseWriter().channel(response, Terms.NONE, null);
        Piece.chunk("x").sendOn(closed.sender);
        Piece.frame("x").sendOn(closed.sender);
        Broadcast.send(Collections.singletonList(closed), "x", true, null);
        closed.compress(null);
        closed.serverClose(1000);
        NestedClosings.load();
        HeaderOrder.ORDER.compare("x", "x");
        TlsValues.of(0, 0);
    }
}
