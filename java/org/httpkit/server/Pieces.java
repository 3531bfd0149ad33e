package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.HttpUtils;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Map;
import java.util.function.IntSupplier;

/**
 * Data to send on a channel, as one chunk or frame.
 *
 * <p>Each is a call that tries to send it and returns {@code Abi.SENT_*}; it may be repeated while
 * the queue is full.
 */
final class Pieces {
    private static final int MAX_CONTROL = 125;

    private Pieces() {}

    /**
     * @throws IllegalArgumentException for data that cannot be sent
     */
    static IntSupplier chunk(Sender to, Object data) throws IOException {
        Object body = bodyOf(data);
        if (body == null) {
            return to::nothing;
        }
        ByteBuffer bytes = HttpUtils.bodyBuffer(body);
        if (!bytes.hasRemaining()) {
            return to::nothing;
        }
        byte[] array = array(bytes);
        int start = bytes.hasArray() ? bytes.arrayOffset() + bytes.position() : 0;
        int flags = to.flags();
        int length = bytes.remaining();
        return () -> Native.sendChunk(to.handle, array, start, length, flags, to.pendingLimit);
    }

    /**
     * @throws IllegalArgumentException for data that cannot be sent
     */
    static IntSupplier frame(Sender to, Object data) throws IOException {
        Object payload = bodyOf(data);
        if (payload == null && data != null) {
            throw new IllegalArgumentException("only the :body of a map is sent, and it has none");
        }
        if (payload == null) {
            return to::nothing;
        } else if (payload instanceof String) {
            return frame(to, WSDecoder.OPCODE_TEXT, ((String) payload).getBytes(UTF_8));
        } else if (payload instanceof byte[]) {
            return frame(to, WSDecoder.OPCODE_BINARY, (byte[]) payload);
        } else if (payload instanceof InputStream) {
            return frame(to, WSDecoder.OPCODE_BINARY, array(HttpUtils.bodyBuffer(payload)));
        } else if (payload instanceof Frame.PingFrame) {
            return control(to, WSDecoder.OPCODE_PING, ((Frame) payload).data);
        } else if (payload instanceof Frame.PongFrame) {
            return control(to, WSDecoder.OPCODE_PONG, ((Frame) payload).data);
        }
        throw new IllegalArgumentException(
                "cannot send a "
                        + payload.getClass().getName()
                        + " on a WebSocket:"
                        + " expected a String, byte[], InputStream, PingFrame or PongFrame");
    }

    private static IntSupplier control(Sender to, int opcode, byte[] payload) {
        if (payload.length > MAX_CONTROL) {
            throw new IllegalArgumentException(
                    "a control frame's payload has at most 125 bytes, this one " + payload.length);
        }
        return frame(to, opcode, payload);
    }

    private static IntSupplier frame(Sender to, int opcode, byte[] payload) {
        int flags = to.flags();
        return () ->
                Native.sendFrame(
                        to.handle, opcode, payload, 0, payload.length, flags, to.pendingLimit);
    }

    private static Object bodyOf(Object data) {
        return data instanceof Map ? ((Map<?, ?>) data).get(ResponseWriter.BODY) : data;
    }

    private static byte[] array(ByteBuffer bytes) {
        if (bytes.hasArray()) {
            return bytes.array();
        }
        byte[] copy = new byte[bytes.remaining()];
        bytes.duplicate().get(copy);
        return copy;
    }
}
