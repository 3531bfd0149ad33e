package org.httpkit.client;

import java.net.Socket;
import java.security.GeneralSecurityException;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;

import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** Makes the engines of {@code :insecure?} requests. */
public class ClientSslEngineFactory {
    private ClientSslEngineFactory() {}

    /**
     * A new engine in client mode that accepts any certificate; for tests and self-signed peers.
     * May be called from any thread.
     */
    public static SSLEngine trustAnybody() {
        return client(SSLHolder.CONTEXT.createSSLEngine());
    }

    /** As {@link #trustAnybody}, for a known peer: sends its name as SNI. */
    static SSLEngine trustAnybodyAt(String host, int port) {
        return client(SSLHolder.CONTEXT.createSSLEngine(host, port));
    }

    static SSLEngine client(SSLEngine engine) {
        engine.setUseClientMode(true);
        return engine;
    }

    /** Native images initialise this class at run time, by its name. */
    static class SSLHolder {
        static final SSLContext CONTEXT = context();

        private static SSLContext context() {
            try {
                SSLContext context = SSLContext.getInstance("TLS");
                context.init(null, new TrustManager[] {new TrustAnybody()}, new SecureRandom());
                return context;
            } catch (GeneralSecurityException e) {
                throw new IllegalStateException("This JVM has no TLS", e);
            }
        }
    }

    /** The extended kind: the JDK adds its own checks to trust managers of the plain one. */
    private static final class TrustAnybody extends X509ExtendedTrustManager {
        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) {}

        @Override
        public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) {}

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }
}
