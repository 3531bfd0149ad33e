package org.httpkit.server;

import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentVector;

import java.security.cert.X509Certificate;
import java.util.List;

/** The values that a request map has over TLS, and only there. */
final class TlsValues {
    private static final Keyword VERSION = Keyword.intern(null, "version");
    private static final Keyword CIPHER = Keyword.intern(null, "cipher");
    private static final Keyword SNI = Keyword.intern(null, "sni");

    private TlsValues() {}

    /**
     * @param index 0 for {@code :tls}, 1 for {@code :ssl-client-cert}, 2 for its chain
     * @return null where TLS ended before this server, at a proxy
     */
    static Object of(long exchange, int index) {
        TlsSession session = TlsSession.of(exchange);
        if (session == null) {
            return null;
        }
        if (index == 0) {
            return new PersistentArrayMap(
                    new Object[] {
                        VERSION, session.version, CIPHER, session.cipher, SNI, session.serverName
                    });
        }
        if (index == 1) {
            return session.peerCertificate();
        }
        List<X509Certificate> chain = session.peerCertificates();
        return chain.isEmpty() ? null : PersistentVector.create(chain);
    }
}
