package org.httpkit.server;

import org.httpkit.jni.AddressRecord;

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;

/** IP addresses as octets in native blocks. */
final class Addresses {
    private Addresses() {}

    /**
     * @return as {@code InetAddress.getHostAddress} has it; null for length 0
     */
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

    static InetAddress address(byte[] block, int start, int length) {
        try {
            return InetAddress.getByAddress(Arrays.copyOfRange(block, start, start + length));
        } catch (UnknownHostException e) {
            throw new IllegalStateException("an address of " + length + " octets", e);
        }
    }

    /** Reads what {@code Native.addresses} returns: the local and the peer's address; or null. */
    static InetSocketAddress[] ends(byte[] block) {
        ByteBuffer records = ByteBuffer.wrap(block).order(ByteOrder.LITTLE_ENDIAN);
        return new InetSocketAddress[] {AddressRecord.read(records), AddressRecord.read(records)};
    }
}
