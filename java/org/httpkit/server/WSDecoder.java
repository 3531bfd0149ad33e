package org.httpkit.server;

/** The opcodes of WebSocket frames (RFC 6455 5.2), as compile-time constants. */
public class WSDecoder {
    public static final byte OPCODE_CONT = 0x0;
    public static final byte OPCODE_TEXT = 0x1;
    public static final byte OPCODE_BINARY = 0x2;
    public static final byte OPCODE_CLOSE = 0x8;
    public static final byte OPCODE_PING = 0x9;
    public static final byte OPCODE_PONG = 0xA;
}
