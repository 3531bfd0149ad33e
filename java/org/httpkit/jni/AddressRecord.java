package org.httpkit.jni;

import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;

/**
 * IP address and port in the form that crosses: the number of octets, the octets, for IPv6 the
 * scope in four bytes, and the port in two; numbers little endian. The Rust side is {@code
 * rust/jni/src/border/fields.rs}. Only 0, without octets, is an unknown address.
 *
 * <p>Not API.
 */
public final class AddressRecord {
    public static final int MAX_LENGTH = 1 + 16 + 4 + 2;

    private static final int IPV4 = 4;

    private AddressRecord() {}

    /** Writes one record at {@code at}. @return where it ends */
    public static int write(InetSocketAddress address, byte[] to, int at) {
        InetAddress ip = address.getAddress();
        byte[] octets = ip.getAddress();
        to[at++] = (byte) octets.length;
        System.arraycopy(octets, 0, to, at, octets.length);
        at += octets.length;
        if (octets.length != IPV4) {
            for (int scope = ((Inet6Address) ip).getScopeId(), i = 0; i < Integer.BYTES; i++) {
                to[at++] = (byte) (scope >> 8 * i);
            }
        }
        to[at++] = (byte) address.getPort();
        to[at++] = (byte) (address.getPort() >> 8);
        return at;
    }

    /**
     * Reads the next record, without its scope.
     *
     * @param records little endian
     * @return null if it is unknown
     */
    public static InetSocketAddress read(ByteBuffer records) {
        byte[] octets = new byte[records.get()];
        if (octets.length == 0) {
            return null;
        }
        records.get(octets);
        if (octets.length != IPV4) {
            records.getInt();
        }
        try {
            return new InetSocketAddress(InetAddress.getByAddress(octets), records.getChar());
        } catch (UnknownHostException e) {
            throw new IllegalStateException("an address of " + octets.length + " octets", e);
        }
    }
}
