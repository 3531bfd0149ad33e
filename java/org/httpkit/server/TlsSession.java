package org.httpkit.server;

import org.httpkit.jni.Native;

import java.io.ByteArrayInputStream;
import java.nio.ByteBuffer;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What TLS agreed on for a request's connection. */
public final class TlsSession {
    /** {@code TLSv1.3} or {@code TLSv1.2}. */
    public final String version;

    /** Such as {@code TLS13_AES_128_GCM_SHA256}. */
    public final String cipher;

    /** The host that the client named in its hello; null without one. */
    public final String serverName;

    private final byte[][] chain;

    private TlsSession(Object[] fields) {
        this.version = (String) fields[0];
        this.cipher = (String) fields[1];
        this.serverName = (String) fields[2];
        this.chain = (byte[][]) fields[3];
    }

    /** Null if the exchange is over, or its connection has no TLS that ends here. */
    static TlsSession of(long exchange) {
        Object[] fields = Native.exchangeTls(exchange);
        return fields == null ? null : new TlsSession(fields);
    }

    /** The client's own, verified certificate; null if it showed none. */
    public X509Certificate peerCertificate() {
        return chain == null || chain.length == 0 ? null : Decoded.certificate(chain[0]);
    }

    /**
     * The client's verified certificate and those that came with it, the client's first; empty if
     * it showed none. All but the first are as the client sent them.
     *
     * @throws IllegalStateException if one of them is no certificate
     */
    public List<X509Certificate> peerCertificates() {
        List<X509Certificate> certificates = new ArrayList<>();
        for (byte[] der : chain == null ? new byte[0][] : chain) {
            certificates.add(Decoded.certificate(der));
        }
        return Collections.unmodifiableList(certificates);
    }

    /**
     * The certificates that were decoded last: clients come again with the same ones, on many
     * connections.
     */
    private static final class Decoded {
        private static final int MOST = 256;

        private static final Map<ByteBuffer, X509Certificate> LAST =
                new LinkedHashMap<>(16, 0.75f, true) {
                    private static final long serialVersionUID = 1L;

                    @Override
                    protected boolean removeEldestEntry(
                            Map.Entry<ByteBuffer, X509Certificate> eldest) {
                        return size() > MOST;
                    }
                };

        static X509Certificate certificate(byte[] der) {
            ByteBuffer key = ByteBuffer.wrap(der);
            synchronized (LAST) {
                X509Certificate known = LAST.get(key);
                if (known != null) {
                    return known;
                }
            }
            X509Certificate decoded = decode(der);
            synchronized (LAST) {
                LAST.put(key, decoded);
            }
            return decoded;
        }

        /** It was verified natively: failing to read it must not look like having none. */
        private static X509Certificate decode(byte[] der) {
            try {
                return (X509Certificate)
                        CertificateFactory.getInstance("X.509")
                                .generateCertificate(new ByteArrayInputStream(der));
            } catch (CertificateException e) {
                throw new IllegalStateException("Java cannot read the client's certificate", e);
            }
        }
    }
}
