package org.httpkit.server;

import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/** Answers one request with bytes that are a whole HTTP response already. */
public class RespCallback {
    /** Bodies go down in pieces of this size. */
    private static final int PIECE = 64 * 1024;

    private final HttpRequest request;

    /** A callback of no request: what it is given goes nowhere. There are no selection keys any more. */
    public RespCallback(SelectionKey key, HttpServer server) {
        this((HttpRequest) null);
    }

    RespCallback(HttpRequest request) {
        this.request = request;
    }

    /**
     * Sends a response as {@code HttpUtils.HttpEncode} makes it, as it is, and consumes the buffers.
     * Only the first response to a request counts. Never blocks; may be called from any thread.
     *
     * <p>The connection goes on if request and response allow it, and if the peer can tell where the
     * response ends: by a Content-Length that is true, or by chunks. A 101 to a request for a
     * WebSocket opens it. To HEAD, and with a status that has no body, only the head is sent.
     *
     * @throws IllegalArgumentException if that is no final response, head first; the request may
     *     still be answered
     */
    public void run(ByteBuffer... buffers) {
        if (request != null) {
            AsyncChannel channel = request.channel;
            channel.answer(handle -> send(handle, channel.hear(), buffers));
        }
    }

    private static int send(long handle, int hear, ByteBuffer[] buffers) {
        long left = 0;
        for (ByteBuffer buffer : buffers) {
            left += buffer.remaining();
        }
        // The head must not be cut: it is the first buffer, or the beginning of it.
        int first = buffers.length == 0 ? 0 : buffers[0].remaining();
        byte[] piece = take(buffers, Math.min(left, Math.max(first, PIECE)));
        left -= piece.length;
        int sent = Native.answerEncoded(handle, piece, 0, piece.length, left, hear);
        while (sent == Abi.ANSWER_MORE) {
            piece = take(buffers, Math.min(left, PIECE));
            left -= piece.length;
            // Without a limit: it is in memory anyway, and nobody here may wait.
            sent = Native.body(handle, piece, 0, piece.length);
        }
        return sent;
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
