package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.ProtocolException;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;

/**
 * Decodes a client's WebSocket frames (RFC 6455 5), for programs with their own connections:
 * servers here decode natively. One object per connection, for one thread at a time.
 */
public class WSDecoder {
    public static final byte OPCODE_CONT = 0x0;
    public static final byte OPCODE_TEXT = 0x1;
    public static final byte OPCODE_BINARY = 0x2;
    public static final byte OPCODE_CLOSE = 0x8;
    public static final byte OPCODE_PING = 0x9;
    public static final byte OPCODE_PONG = 0xA;

    private static final int MAX_CONTROL = 125;
    private static final int MAX_HEAD = 14;

    private final int maxSize;

    /** The head of the current frame, as far as received. */
    private final byte[] head = new byte[MAX_HEAD];

    private int headLength;

    /** Payload bytes still to come; -1 while the head is incomplete. */
    private long left = -1;

    private int opcode;
    private boolean last;
    private int maskAt;
    private int position;
    private ByteArrayOutputStream control;

    /** The message whose fragments are being read, and its opcode; null between messages. */
    private ByteArrayOutputStream message;

    private int messageOpcode;

    /**
     * @param maxSize most bytes of a message; more is a {@link WebSocketException} with code 1009
     */
    public WSDecoder(int maxSize) {
        this.maxSize = maxSize;
    }

    /**
     * Takes bytes from the buffer up to the end of a message or control frame.
     *
     * @return it, with fragments joined; null if more bytes are needed: then the whole buffer was
     *     taken
     * @throws WebSocketException if the client breaks the protocol; its code is for the close frame
     */
    public Frame decode(ByteBuffer buffer) throws ProtocolException {
        while (left >= 0 || readHead(buffer)) {
            readPayload(buffer);
            if (left > 0) {
                return null;
            }
            Frame frame = endFrame();
            if (frame != null) {
                return frame;
            }
        }
        return null;
    }

    /**
     * @return whether the head is complete
     */
    private boolean readHead(ByteBuffer buffer) throws ProtocolException {
        while (buffer.hasRemaining()) {
            head[headLength++] = buffer.get();
            if (headLength >= 2 && headLength == headSize()) {
                beginFrame();
                return true;
            }
        }
        return false;
    }

    private int headSize() throws ProtocolException {
        if ((head[1] & 0x80) == 0) {
            throw broken("unmasked frame");
        }
        int length = head[1] & 0x7f;
        return 6 + (length == 126 ? 2 : length == 127 ? 8 : 0);
    }

    private void beginFrame() throws ProtocolException {
        last = (head[0] & 0x80) != 0;
        opcode = head[0] & 0xf;
        if ((head[0] & 0x70) != 0) {
            throw broken("RSV bits are set");
        }
        maskAt = headLength - 4;
        position = 0;
        long length = payloadLength();
        headLength = 0;
        if (opcode >= OPCODE_CLOSE) {
            beginControl(length);
        } else {
            beginData(length);
        }
        left = length;
    }

    private long payloadLength() throws ProtocolException {
        int length = head[1] & 0x7f;
        if (length < 126) {
            return length;
        }
        ByteBuffer extended = ByteBuffer.wrap(head, 2, 8);
        long announced = length == 126 ? extended.getShort() & 0xffff : extended.getLong();
        if (announced < (length == 126 ? 126 : 0x10000)) {
            throw broken("length " + announced + " is negative, or in more bytes than it needs");
        }
        return announced;
    }

    private void beginControl(long length) throws ProtocolException {
        if (opcode > OPCODE_PONG) {
            throw broken("opcode " + opcode);
        }
        if (!last || length > MAX_CONTROL) {
            throw broken("a control frame is fragmented or has more than 125 bytes");
        }
        control = new ByteArrayOutputStream();
    }

    private void beginData(long length) throws ProtocolException {
        if (opcode > OPCODE_BINARY) {
            throw broken("opcode " + opcode);
        }
        if ((opcode == OPCODE_CONT) != (message != null)) {
            throw broken(
                    message == null
                            ? "continuation without a message"
                            : "message inside a message");
        }
        if (message == null) {
            message = new ByteArrayOutputStream();
            messageOpcode = opcode;
        }
        if (length > maxSize - message.size()) {
            throw new WebSocketException(
                    1009,
                    "message of "
                            + (message.size() + length)
                            + " bytes, at most "
                            + maxSize
                            + " are allowed");
        }
    }

    private void readPayload(ByteBuffer buffer) {
        ByteArrayOutputStream target = control == null ? message : control;
        byte[] piece = new byte[(int) Math.min(left, buffer.remaining())];
        buffer.get(piece);
        for (int i = 0; i < piece.length; i++) {
            piece[i] ^= head[maskAt + (position++ & 3)];
        }
        target.write(piece, 0, piece.length);
        left -= piece.length;
    }

    /**
     * @return null unless a message or a control frame has ended
     */
    private Frame endFrame() throws ProtocolException {
        left = -1;
        if (control != null) {
            byte[] data = control.toByteArray();
            control = null;
            return opcode == OPCODE_PING
                    ? new Frame.PingFrame(data)
                    : opcode == OPCODE_PONG ? new Frame.PongFrame(data) : close(data);
        }
        if (!last) {
            return null;
        }
        byte[] data = message.toByteArray();
        message = null;
        if (messageOpcode == OPCODE_BINARY) {
            return new Frame.BinaryFrame(data);
        }
        requireText(data, 0);
        return new Frame.TextFrame(data);
    }

    private static Frame close(byte[] data) throws ProtocolException {
        Frame.CloseFrame frame = new Frame.CloseFrame(data);
        if (data.length == 1 || data.length > 1 && !CloseCodes.mayBeReceived(frame.getStatus())) {
            throw broken("a close frame without a valid code");
        }
        requireText(data, Math.min(2, data.length));
        return frame;
    }

    private static void requireText(byte[] data, int start) throws ProtocolException {
        try {
            UTF_8.newDecoder().decode(ByteBuffer.wrap(data, start, data.length - start));
        } catch (CharacterCodingException e) {
            throw new WebSocketException(1007, "a text is not UTF-8");
        }
    }

    private static WebSocketException broken(String rule) {
        return new WebSocketException(1002, rule);
    }
}
