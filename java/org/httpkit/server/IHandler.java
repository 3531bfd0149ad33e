package org.httpkit.server;

/**
 * A server's handler, for programs that embed it without Ring: see {@link
 * HttpServer#HttpServer(String, int, IHandler, int, int, int, ProxyProtocolOption)}.
 *
 * <p>All methods but {@link #close} are called on one thread, one call at a time. A call that
 * blocks delays the others; move long work to your own threads. Exceptions are logged.
 */
public interface IHandler {
    /**
     * Handles a request. Respond through {@code callback}, now or later and from any thread, or
     * through {@link HttpRequest#getChannel}. If this throws before anything was sent, a 500 is
     * sent.
     */
    void handle(HttpRequest request, RespCallback callback);

    /**
     * A message or control frame of a WebSocket: a {@link Frame.TextFrame}, {@link
     * Frame.BinaryFrame}, {@link Frame.PingFrame} (its pong has been sent) or {@link
     * Frame.PongFrame}.
     */
    void handle(AsyncChannel channel, Frame frame);

    /**
     * As {@link #clientClose(AsyncChannel, int, String)}, which servers call, without the reason.
     */
    void clientClose(AsyncChannel channel, int status);

    /**
     * The peer has disconnected before its response, or a WebSocket has ended other than by {@link
     * AsyncChannel#serverClose}. The channel's own close handlers have not run: {@link
     * AsyncChannel#onClose(int, String)} runs them.
     *
     * @param status a close code; -1 for a request, 0 when the server stops
     */
    default void clientClose(AsyncChannel channel, int status, String reason) {
        clientClose(channel, status);
    }

    /**
     * The server stops: no more requests will come. Called on the stopping thread, which it may
     * block.
     *
     * @param timeout msecs that remaining work may take; 0 if {@link #handle} used them up
     */
    void close(int timeout);
}
