package org.httpkit.client;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeMap;

/** Response headers in the core's form. */
final class HeaderBlock {
    private HeaderBlock() {}

    /**
     * Lower-case name to value, sorted by name: the order in which users see maps of a few headers.
     */
    static Map<String, Object> parse(byte[] block) {
        ByteBuffer in = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
        Map<String, Object> headers = new TreeMap<>();
        for (int left = in.getChar(); left > 0; left--) {
            int nameLength = in.getChar();
            int valueLength = in.getChar();
            String name = latin1(in, nameLength);
            headers.put(name, latin1(in, valueLength));
        }
        return headers;
    }

    private static String latin1(ByteBuffer in, int length) {
        String text =
                new String(
                        in.array(),
                        in.arrayOffset() + in.position(),
                        length,
                        StandardCharsets.ISO_8859_1);
        in.position(in.position() + length);
        return text;
    }
}
