package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * A WebSocket message or control frame. {@code send!} takes a {@link PingFrame} or {@link
 * PongFrame}; its payload may have at most 125 bytes (RFC 6455 5.5).
 */
public abstract class Frame {
    /** The payload, not copied. */
    public final byte[] data;

    public Frame(byte[] data) {
        this.data = data;
    }

    @Override
    public String toString() {
        return getClass().getSimpleName() + "[len=" + data.length + "]";
    }

    public static class TextFrame extends Frame {
        public TextFrame(byte[] data) {
            super(data);
        }

        public String getText() {
            return new String(data, UTF_8);
        }
    }

    public static class BinaryFrame extends Frame {
        public BinaryFrame(byte[] data) {
            super(data);
        }
    }

    public static class PingFrame extends Frame {
        public PingFrame(byte[] data) {
            super(data);
        }
    }

    public static class PongFrame extends Frame {
        public PongFrame(byte[] data) {
            super(data);
        }
    }

    public static class CloseFrame extends Frame {
        public static final short CLOSE_NORMAL = 1000;
        public static final short CLOSE_AWAY = 1001;
        public static final short CLOSE_MESG_BIG = 1009;

        public static final CloseFrame NORMAL = of(CLOSE_NORMAL);
        public static final CloseFrame AWAY = of(CLOSE_AWAY);
        public static final CloseFrame MESG_BIG = of(CLOSE_MESG_BIG);

        private static final int NO_STATUS_RECEIVED = 1005;

        private static CloseFrame of(short code) {
            return new CloseFrame(new byte[] {(byte) (code >> 8), (byte) code});
        }

        public CloseFrame(byte[] data) {
            super(data);
        }

        /**
         * @return the close code, 1005 if the payload has none (RFC 6455 7.1.5)
         */
        public int getStatus() {
            return data.length < 2 ? NO_STATUS_RECEIVED : (data[0] & 0xff) << 8 | data[1] & 0xff;
        }

        /**
         * @return the text after the code, empty if there is none
         */
        public String getReason() {
            return data.length <= 2 ? "" : new String(data, 2, data.length - 2, UTF_8);
        }
    }
}
