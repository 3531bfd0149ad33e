package org.httpkit.client;

import org.httpkit.tls.Identity;
import org.httpkit.tls.Store;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Paths;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.cert.X509Certificate;
import java.util.List;

import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/**
 * The trust and key material of the JVM's own TLS, in native form: trust anchors and client key
 * from the {@code javax.net.ssl} properties, else the JDK's cacerts.
 *
 * <p>Read once per process, as the JDK's default context is.
 */
final class TlsMaterial {
    private static final int MAX_COUNT = 0xffff;

    /** Settings of the JDK's TLS that have no native counterpart. */
    private static final String[] JDK_ONLY = {
        "jdk.tls.",
        "jdk.certpath.",
        "jsse.",
        "sun.security.ssl.",
        "com.sun.net.ssl.",
        "com.sun.security.enable",
        "javax.net.ssl.keyStoreProvider"
    };

    private TlsMaterial() {}

    /** Null if only the JDK's TLS supports this JVM's configuration. */
    static byte[] get() {
        return Holder.ENCODED;
    }

    private static final class Holder {
        static final byte[] ENCODED = read();

        private static byte[] read() {
            if (System.getProperties().stringPropertyNames().stream().anyMatch(Holder::isJdkOnly)) {
                return null;
            }
            try {
                return encode(anchors(), keyEntry());
            } catch (GeneralSecurityException | IOException | UnsupportedOperationException e) {
                // The JDK's TLS meets the same error and reports it to the request in its own
                // words.
                return null;
            }
        }

        private static boolean isJdkOnly(String property) {
            for (String prefix : JDK_ONLY) {
                if (property.startsWith(prefix)) {
                    return true;
                }
            }
            return false;
        }
    }

    private static X509Certificate[] anchors() throws GeneralSecurityException {
        TrustManagerFactory factory =
                TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        factory.init((KeyStore) null);
        TrustManager[] managers = factory.getTrustManagers();
        if (managers.length != 1 || !(managers[0] instanceof X509TrustManager)) {
            throw new UnsupportedOperationException("trust managers of another kind");
        }
        return ((X509TrustManager) managers[0]).getAcceptedIssuers();
    }

    /** The key store's only key entry; null without a key store, or in an empty one. */
    private static Identity keyEntry() throws GeneralSecurityException, IOException {
        String file = System.getProperty("javax.net.ssl.keyStore", "");
        if (file.equals("NONE")) {
            throw new UnsupportedOperationException("key store without a file");
        }
        if (file.isEmpty()) {
            return null;
        }
        char[] password = System.getProperty("javax.net.ssl.keyStorePassword", "").toCharArray();
        String type = System.getProperty("javax.net.ssl.keyStoreType", KeyStore.getDefaultType());
        KeyStore store =
                Store.load(
                        Files.readAllBytes(Paths.get(file)),
                        type,
                        password.length == 0 ? null : password);
        List<String> aliases = Identity.aliases(store);
        if (aliases.size() > 1) {
            throw new UnsupportedOperationException(
                    "the JDK chooses among several keys by the server's issuers");
        }
        return aliases.isEmpty()
                ? null
                : Identity.of("the key store", store, aliases.get(0), password);
    }

    private static byte[] encode(X509Certificate[] anchors, Identity identity)
            throws GeneralSecurityException, IOException {
        if (anchors.length > MAX_COUNT) {
            throw new UnsupportedOperationException("too many trust anchors");
        }
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(200_000);
        DataOutputStream out = new DataOutputStream(bytes);
        writeCount(out, anchors.length);
        for (X509Certificate anchor : anchors) {
            writeBytes(out, anchor.getEncoded());
        }
        byte[][] chain = identity == null ? new byte[0][] : identity.encodedChain();
        writeCount(out, chain.length);
        for (byte[] certificate : chain) {
            writeBytes(out, certificate);
        }
        writeBytes(out, identity == null ? new byte[0] : identity.key);
        return bytes.toByteArray();
    }

    private static void writeCount(DataOutputStream out, int count) throws IOException {
        out.writeShort(Short.reverseBytes((short) count));
    }

    private static void writeBytes(DataOutputStream out, byte[] bytes) throws IOException {
        out.writeInt(Integer.reverseBytes(bytes.length)); // little endian
        out.write(bytes);
    }
}
