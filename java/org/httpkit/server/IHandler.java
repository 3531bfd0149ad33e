package org.httpkit.server;

/**
 * What a server runs, for programs that embed it without Ring: see {@link
 * HttpServer#HttpServer(String, int, IHandler, int, int, int, ProxyProtocolOption)}.
 *
 * <p>All but {@link #close} is called on one thread of the server, one call after the other: one
 * that blocks delays the others, and should hand its work to threads of its own. What is thrown is
 * logged.
 */
public interface IHandler {
    /**
     * A request. Answered through {@code callback}, now or later and from any thread, or through
     * {@link HttpRequest#getChannel}. A call that throws before anything was sent is answered with
     * 500.
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
     * The peer has left before its request was answered, or a WebSocket has ended otherwise than by
     * {@link AsyncChannel#serverClose}. The channel's own close handlers have not run: {@link
     * AsyncChannel#onClose(int, String)} runs them.
     *
     * @param status a close code; -1 for a request, 0 when the server stops
     */
    default void clientClose(AsyncChannel channel, int status, String reason) {
        clientClose(channel, status);
    }

    /**
     * The server stops: no more requests come. Called on the stopping thread, which it may block.
     *
     * @param timeout msecs that work still under way may take; 0 if {@link #handle} took them all
     */
    void close(int timeout);
}
