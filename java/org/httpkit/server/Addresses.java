package org.httpkit.server;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.Arrays;

/** IP addresses as octets in native blocks. */
final class Addresses {
    private Addresses() {}

    /** @return as {@code InetAddress.getHostAddress} has it; null for length 0 */
    static String text(byte[] block, int start, int length) {
        if (length == 4) {
            return (block[start] & 0xff)
                    + "."
                    + (block[start + 1] & 0xff)
                    + "."
                    + (block[start + 2] & 0xff)
                    + "."
                    + (block[start + 3] & 0xff);
        }
        return length == 0 ? null : address(block, start, length).getHostAddress();
    }

    private static InetAddress address(byte[] block, int start, int length) {
        try {
            return InetAddress.getByAddress(Arrays.copyOfRange(block, start, start + length));
        } catch (UnknownHostException e) {
            throw new IllegalStateException("an address of " + length + " octets", e);
        }
    }

    /** Reads what {@code Native.addresses} returns: the local and the peer's address. */
    static InetSocketAddress[] ends(byte[] block) {
        InetSocketAddress[] ends = new InetSocketAddress[2];
        int at = 0;
        for (int i = 0; i < ends.length; i++) {
            int length = block[at];
            int portAt = at + 1 + length;
            int port = (block[portAt] & 0xff) | (block[portAt + 1] & 0xff) << 8;
            ends[i] = new InetSocketAddress(address(block, at + 1, length), port);
            at = portAt + 2;
        }
        return ends;
    }
}
