package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.jni.Abi;

import java.io.File;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.CharBuffer;
import java.nio.channels.UnresolvedAddressException;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.util.Arrays;

/** Where a server listens, in native form. */
final class ListenAddress {
    /** The charset of file paths. */
    static final Charset PATHS = pathCharset();

    /** No address: plain HTTP is not served. */
    static final ListenAddress NONE = new ListenAddress(Abi.ADDRESS_NONE, new byte[0], 0);

    /** {@code Abi.ADDRESS_*}. */
    final int kind;

    /** The octets of an IP address, a path, or what a socket is called in errors. */
    final byte[] bytes;

    final int port;

    private ListenAddress(int kind, byte[] bytes, int port) {
        this.kind = kind;
        this.bytes = bytes;
        this.port = port;
    }

    static ListenAddress of(ServerOptions options) {
        if (options.listenSocket >= 0) {
            return lent(options.listenSocket, options);
        }
        if (options.unixSocket != null) {
            return unix(options.unixSocket, ":unix-socket \"" + options.unixSocket + "\"");
        }
        return options.address == null && options.tls != null ? NONE : of(options.address);
    }

    static ListenAddress ofTls(ServerOptions options) {
        int socket = options.tlsListenSocket;
        return socket >= 0 ? lent(socket, options) : of(options.tlsAddress);
    }

    private static ListenAddress lent(int socket, ServerOptions options) {
        String name = options.listenSocketName;
        String shown = name == null ? " " + socket : " " + name + ": descriptor " + socket;
        return new ListenAddress(
                Abi.ADDRESS_LENT, (":listen-socket" + shown).getBytes(UTF_8), socket);
    }

    /**
     * @throws IllegalArgumentException for an address that is neither a resolved InetSocketAddress
     *     nor a UnixDomainSocketAddress, or a path that the locale cannot write
     */
    static ListenAddress of(SocketAddress address) {
        if (address instanceof InetSocketAddress) {
            InetSocketAddress inet = (InetSocketAddress) address;
            if (inet.isUnresolved()) {
                throw unresolved(inet);
            }
            return new ListenAddress(
                    Abi.ADDRESS_INET, inet.getAddress().getAddress(), inet.getPort());
        }
        if (isUnix(address)) {
            return unix(address.toString(), "cannot listen on " + address);
        }
        throw new IllegalArgumentException(
                "cannot listen on "
                        + address
                        + ": expected an InetSocketAddress or a UnixDomainSocketAddress");
    }

    /** {@code String.getBytes} would make it another path. */
    private static ListenAddress unix(String path, String shown) {
        try {
            ByteBuffer bytes = PATHS.newEncoder().encode(CharBuffer.wrap(path));
            return new ListenAddress(
                    Abi.ADDRESS_UNIX, Arrays.copyOf(bytes.array(), bytes.limit()), 0);
        } catch (CharacterCodingException e) {
            throw new IllegalArgumentException(
                    shown
                            + ": in this locale, a path has only characters of "
                            + PATHS.name()
                            + "; start Java with LC_ALL=C.UTF-8",
                    e);
        }
    }

    /** By name: the class came with Java 16. */
    private static boolean isUnix(SocketAddress address) {
        return address != null
                && address.getClass().getName().equals("java.net.UnixDomainSocketAddress");
    }

    /** That exception takes no message: the cause says more. */
    private static RuntimeException unresolved(InetSocketAddress address) {
        RuntimeException e = new UnresolvedAddressException();
        e.initCause(
                new UnknownHostException(
                        "cannot listen on " + address.getHostString() + ": unknown host"));
        return e;
    }

    /** Windows's paths are no bytes; there the native side wants UTF-8. */
    private static Charset pathCharset() {
        if (File.separatorChar == '\\') {
            return UTF_8;
        }
        String name = System.getProperty("sun.jnu.encoding");
        return name == null ? UTF_8 : Charset.forName(name);
    }
}
