package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import clojure.lang.PersistentHashMap;

import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.util.Map;

/** Data to send on channels, encoded as one chunk or frame. */
final class Piece {
    private static final int MAX_CONTROL = 125;

    final int opcode;
    final byte[] array;
    final int start;
    final int length;

    private Piece(int opcode, byte[] array, int start, int length) {
        this.opcode = opcode;
        this.array = array;
        this.start = start;
        this.length = length;
    }

    /**
     * Tries to send it, which may be repeated while the queue is full.
     *
     * @return {@code Abi.SENT_*}
     */
    int sendOn(Sender to) {
        int limit = to.room.limit();
        return opcode == Abi.OPCODE_CHUNK
                ? Native.sendChunk(to.handle, array, start, length, to.flags(), limit)
                : Native.sendFrame(to.handle, opcode, array, start, length, to.flags(), limit);
    }

    /**
     * @return null if there is nothing to send
     * @throws IllegalArgumentException for data that cannot be sent
     */
    static Piece chunk(Object data) throws IOException {
        Object body = bodyOf(data);
        if (body == null) {
            return null;
        }
        ByteBuffer bytes = HttpUtils.bodyBuffer(body);
        if (!bytes.hasRemaining()) {
            return null;
        }
        int start = bytes.hasArray() ? bytes.arrayOffset() + bytes.position() : 0;
        return new Piece(Abi.OPCODE_CHUNK, array(bytes), start, bytes.remaining());
    }

    /**
     * @return null if there is nothing to send
     * @throws IllegalArgumentException for data that cannot be sent
     */
    static Piece frame(Object data) throws IOException {
        Object payload = bodyOf(data);
        if (payload == null && data != null) {
            throw new IllegalArgumentException("only the :body of a map is sent, and it has none");
        }
        if (payload == null) {
            return null;
        } else if (payload instanceof String) {
            return frame(WSDecoder.OPCODE_TEXT, ((String) payload).getBytes(UTF_8));
        } else if (payload instanceof byte[]) {
            return frame(WSDecoder.OPCODE_BINARY, (byte[]) payload);
        } else if (payload instanceof InputStream) {
            return frame(WSDecoder.OPCODE_BINARY, array(HttpUtils.bodyBuffer(payload)));
        } else if (payload instanceof Frame.PingFrame) {
            return control(WSDecoder.OPCODE_PING, ((Frame) payload).data);
        } else if (payload instanceof Frame.PongFrame) {
            return control(WSDecoder.OPCODE_PONG, ((Frame) payload).data);
        }
        throw new IllegalArgumentException(
                "cannot send a "
                        + payload.getClass().getName()
                        + " on a WebSocket:"
                        + " expected a String, byte[], InputStream, PingFrame or PongFrame");
    }

    private static Piece control(int opcode, byte[] payload) {
        if (payload.length > MAX_CONTROL) {
            throw new IllegalArgumentException(
                    "a control frame's payload has at most 125 bytes, this one " + payload.length);
        }
        return frame(opcode, payload);
    }

    private static Piece frame(int opcode, byte[] payload) {
        return new Piece(opcode, payload, 0, payload.length);
    }

    /** {@code data} without a stream, which could be read only once. */
    static Object repeatable(Object data) throws IOException {
        Object body = bodyOf(data);
        if (!(body instanceof InputStream)) {
            return data;
        }
        byte[] bytes = array(HttpUtils.bodyBuffer(body));
        return data instanceof Map
                ? PersistentHashMap.create((Map<?, ?>) data).assoc(ResponseWriter.BODY, bytes)
                : bytes;
    }

    /** What is sent of {@code data}: the body of a response map. */
    static Object bodyOf(Object data) {
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
