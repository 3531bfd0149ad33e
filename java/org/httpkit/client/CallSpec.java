package org.httpkit.client;

import org.httpkit.jni.Abi;
import org.httpkit.jni.AddressRecord;

import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * One request in native form: everything but an in-memory body, in one array.
 *
 * <p>Numbers are little endian, texts are UTF-8 after a 16-bit length; the order is that of the
 * core's reader.
 */
final class CallSpec {
    static final int MAX_ADDRESSES = 255;

    /** Bytes of a streamed response that may be unread. */
    private static final int WINDOW = 256 * 1024;

    private static final int MAX_TEXT = 0xffff;

    private byte[] bytes = new byte[640];
    private int length;

    private CallSpec() {}

    static CallSpec of(
            Call call,
            Route route,
            RequestConfig config,
            RequestHead head,
            RequestBody body,
            TlsChoice tls,
            SocketAddress[] addresses)
            throws TimeoutException {
        CallSpec spec = new CallSpec();
        spec.u32(
                (call.streams() ? Abi.CALL_STREAM : 0)
                        | (call.raw() ? Abi.CALL_RAW : 0)
                        | (tls.hosted ? Abi.CALL_HOSTED : 0)
                        | (tls.takesOver() ? Abi.CALL_HOSTED_TLS : 0));
        spec.u8(method(config.methodName()));
        spec.u8(route.tls() ? tls.tls : Abi.TLS_NONE);
        spec.u8(tls.sni ? 1 : 0);
        spec.u8(route.kind);
        spec.u8(route.proxyTls() ? tls.tls : Abi.TLS_NONE);
        spec.body(body);
        spec.i64(tls.policy);
        spec.i64(call.wireLimit());
        spec.i64(call.decodedLimit());
        spec.i64(call.bodyLimit(config));
        spec.times(config);
        spec.u32(WINDOW);
        spec.names(route, head, tls, addresses);
        spec.addresses(addresses);
        byte[] ready = head.bytes();
        spec.u32(ready.length);
        spec.put(ready);
        return spec;
    }

    private static int method(String name) {
        return name.equals("GET")
                ? Abi.METHOD_GET
                : name.equals("HEAD") ? Abi.METHOD_HEAD : Abi.METHOD_OTHER;
    }

    private void body(RequestBody body) {
        boolean streamed = body != null && body.streamed();
        u8(
                !streamed
                        ? Abi.UPLOAD_WHOLE
                        : body.length() >= 0 ? Abi.UPLOAD_LENGTH : Abi.UPLOAD_CHUNKED);
        i64(streamed && body.length() >= 0 ? body.length() : 0);
    }

    private void times(RequestConfig config) throws TimeoutException {
        u32(config.connectTimeout);
        u32(config.idleTimeout);
        u32(config.keepAlive);
        u32(config.deadline < 0 ? -1 : leftOfDeadline(config));
        u32(config.deadline);
        u32(config.poolTimeout);
    }

    private static int leftOfDeadline(RequestConfig config) throws TimeoutException {
        long millis = (config.deadlineAt - System.nanoTime()) / 1_000_000;
        if (millis <= 0) {
            throw new TimeoutException("deadline: " + config.deadline + "ms");
        }
        return (int) millis;
    }

    private void names(Route route, RequestHead head, TlsChoice tls, SocketAddress[] addresses) {
        text(isNative(addresses[0]) ? route.poolHost() : route.poolHost() + addresses[0]);
        text(tls.tls == Abi.TLS_NONE ? "" : Route.bareHost(route.peer()));
        text(route.proxyTls() ? Route.bareHost(route.proxy) : "");
        boolean tunnel = route.kind != Abi.ROUTE_DIRECT;
        text(tunnel ? Route.bareHost(route.uri) : "");
        u16(tunnel ? Route.port(route.uri) : 0);
        String authorization = route.kind == Abi.ROUTE_TUNNEL ? head.proxyAuthorization() : null;
        text(authorization == null ? "" : authorization);
        String[] socks = route.kind == Abi.ROUTE_SOCKS5 ? route.proxyCredentials() : null;
        text(socks == null ? "" : socks[0]);
        text(socks == null ? "" : socks[1]);
    }

    /** Whether the core can connect to it; it only compares the text of others. */
    private static boolean isNative(SocketAddress address) {
        return address instanceof InetSocketAddress
                && !((InetSocketAddress) address).isUnresolved();
    }

    private void addresses(SocketAddress[] addresses) {
        if (!isNative(addresses[0])) {
            u8(0);
            return;
        }
        u8(addresses.length);
        for (SocketAddress address : addresses) {
            inet((InetSocketAddress) address);
        }
    }

    /** One address record. */
    static byte[] address(InetSocketAddress address) {
        CallSpec spec = new CallSpec();
        spec.inet(address);
        return spec.array();
    }

    private void inet(InetSocketAddress address) {
        ensure(AddressRecord.MAX_LENGTH);
        length = AddressRecord.write(address, bytes, length);
    }

    byte[] array() {
        return Arrays.copyOf(bytes, length);
    }

    byte[] bytes() {
        return bytes;
    }

    int length() {
        return length;
    }

    private void text(String text) {
        byte[] encoded = text.getBytes(StandardCharsets.UTF_8);
        if (encoded.length > MAX_TEXT) {
            throw new IllegalArgumentException(
                    "host or credentials longer than " + MAX_TEXT + " bytes");
        }
        u16(encoded.length);
        put(encoded);
    }

    private void u8(int value) {
        ensure(1);
        bytes[length++] = (byte) value;
    }

    private void u16(int value) {
        u8(value);
        u8(value >> 8);
    }

    private void u32(int value) {
        u16(value);
        u16(value >> 16);
    }

    private void i64(long value) {
        u32((int) value);
        u32((int) (value >> 32));
    }

    private void put(byte[] more) {
        ensure(more.length);
        System.arraycopy(more, 0, bytes, length, more.length);
        length += more.length;
    }

    private void ensure(int more) {
        if (bytes.length - length < more) {
            bytes = Arrays.copyOf(bytes, Math.max(2 * bytes.length, length + more));
        }
    }
}
