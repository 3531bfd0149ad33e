package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;

/** Responds to one request with the bytes of a complete HTTP response. */
public class RespCallback {
    /** Body bytes passed down with the head; the rest is not copied. */
    private static final int PIECE = 64 * 1024;

    private static final String HEAD_END = "\r\n\r\n";

    /** Not the request, whose body may be large. Replaced by {@link AsyncChannel#reset}. */
    volatile AsyncChannel channel;

    /**
     * A callback without a request; responses given to it are discarded. Selection keys no longer
     * exist.
     */
    public RespCallback(SelectionKey key, HttpServer server) {
        this(null);
    }

    RespCallback(AsyncChannel channel) {
        this.channel = channel;
    }

    /**
     * Sends a response, as {@code HttpUtils.HttpEncode} makes it, and consumes the buffers. Only
     * the first response to a request counts. Never blocks; may be called from any thread.
     *
     * <p>The connection is kept if request and response allow it and the response has a clear end:
     * a correct Content-Length, or chunks. A 101 to a WebSocket request opens the WebSocket. For
     * HEAD, and with a status that has no body, only the head is sent. Otherwise the bytes are sent
     * as they are, but where the server has reasons of its own to end the connection, it adds
     * {@code Connection: Close}, and leaves out {@code keep-alive}.
     *
     * @throws IllegalArgumentException if that is not a final response, head first; another
     *     response may still be sent
     */
    public void run(ByteBuffer... buffers) {
        AsyncChannel to = channel;
        if (to != null) {
            to.respond(handle -> send(handle, to.interest(), buffers));
        }
    }

    private static int send(long handle, int interest, ByteBuffer[] buffers) {
        long left = 0;
        for (ByteBuffer buffer : buffers) {
            left += buffer.remaining();
        }
        // The head must not be split: it is the first buffer, or the start of it.
        int first = buffers.length == 0 ? 0 : headLength(buffers[0]);
        byte[] piece = take(buffers, Math.min(left, Math.max(first, PIECE)));
        int sent =
                Native.respondEncoded(
                        handle, piece, 0, piece.length, left - piece.length, interest);
        for (int i = 0; sent == Abi.RESPONSE_MORE; i++) {
            if (buffers[i].hasRemaining()) {
                sent = sendRest(handle, buffers[i]);
            }
        }
        return sent;
    }

    private static int sendRest(long handle, ByteBuffer rest) {
        int length = rest.remaining();
        if (!rest.hasArray()) {
            byte[] copy = new byte[length];
            rest.get(copy);
            return Native.sendBody(handle, copy, 0, length, true);
        }
        int start = rest.arrayOffset() + rest.position();
        rest.position(rest.limit());
        return Native.sendBody(handle, rest.array(), start, length, false);
    }

    /**
     * @return how much of {@code first} is head, or at most the size of a piece
     */
    private static int headLength(ByteBuffer first) {
        int end = first.remaining() <= PIECE ? first.limit() : first.position();
        int matched = 0;
        while (end < first.limit() && matched < HEAD_END.length()) {
            char c = (char) first.get(end++);
            matched = c == HEAD_END.charAt(matched) ? matched + 1 : c == '\r' ? 1 : 0;
        }
        return end - first.position();
    }

    private static byte[] take(ByteBuffer[] buffers, long size) {
        byte[] piece = new byte[(int) size];
        int used = 0;
        for (ByteBuffer buffer : buffers) {
            int n = Math.min(piece.length - used, buffer.remaining());
            buffer.get(piece, used, n);
            used += n;
        }
        return piece;
    }
}
