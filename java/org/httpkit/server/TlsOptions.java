package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.tls.Identity;
import org.httpkit.tls.PemIdentity;
import org.httpkit.tls.Source;
import org.httpkit.tls.Store;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * How a server speaks TLS: its certificates and keys, and its requirements for clients.
 *
 * <p>A place to read from is a path as a String, a File, a Path, a URL, or {@code
 * "classpath:name"}; for stores also a {@link java.security.KeyStore}. Files are read when the port
 * is opened, and again when they change.
 */
public final class TlsOptions {
    /** Whether clients must show a certificate. */
    public enum ClientAuth {
        /** They are not asked for one. */
        NONE,
        /** They are asked for one, which must be valid if shown. */
        WANT,
        /** Connections without a valid one are refused. */
        NEED
    }

    public static final int DEFAULT_SCAN_SECONDS = 60;

    private interface Reader<T> {
        List<T> read() throws IOException;
    }

    private final List<Reader<Identity>> identities = new ArrayList<>();
    private final List<Reader<TlsMaterial.Anchor>> anchors = new ArrayList<>();
    private final List<Reader<TlsMaterial.Revoked>> revoked = new ArrayList<>();
    private final List<Source> sources = new ArrayList<>();

    /** Names of those that are given and are for clients' certificates. */
    private final List<String> forClients = new ArrayList<>();

    /** Null: not given, which is as NONE. */
    private ClientAuth clientAuth;

    private boolean tls12 = true;
    private boolean tls13 = true;
    private boolean redirect;
    private int scanSeconds = DEFAULT_SCAN_SECONDS;

    /**
     * Adds all keys of a store. For a client that names no host they are for, the first by alias is
     * used.
     *
     * @param type {@code "PKCS12"}, {@code "JKS"} and the like; null: recognised
     * @param password of the store
     * @param keyPassword of its entries; null: as the store's
     */
    public TlsOptions keyStore(Object store, String type, char[] password, char[] keyPassword) {
        Store opened = new Store(":keystore", store, type, ":key-password", password);
        char[] ofKeys = keyPassword == null ? null : keyPassword.clone();
        watch(opened.source());
        identities.add(() -> opened.identities(ofKeys));
        return this;
    }

    /**
     * Adds a key from PEM files.
     *
     * @param certificate the server's certificate, then those of intermediate authorities
     * @param key {@code PRIVATE KEY}, {@code ENCRYPTED}, {@code RSA} or {@code EC PRIVATE KEY}
     * @param password of an encrypted key, or null
     */
    public TlsOptions certificate(Object certificate, Object key, char[] password) {
        return certificate(certificate, key, password, null);
    }

    /**
     * As {@link #certificate(Object, Object, char[])}.
     *
     * @param ocsp an OCSP response in DER, which clients that ask for it get with the certificate
     *     until it expires; null for none
     */
    public TlsOptions certificate(Object certificate, Object key, char[] password, Object ocsp) {
        PemIdentity pem =
                new PemIdentity(
                        new Source(":tls :cert", certificate),
                        new Source(":tls :key", key),
                        password,
                        ocsp == null ? null : new Source(":tls :ocsp", ocsp));
        pem.sources().forEach(this::watch);
        identities.add(() -> List.of(pem.identity()));
        return this;
    }

    /** Adds the certificates of a store to the authorities that may sign clients' certificates. */
    public TlsOptions trustStore(Object store, String type, char[] password) {
        Store opened = new Store(":truststore", store, type, ":trust-password", password);
        watch(opened.source());
        forClients.add(":truststore");
        anchors.add(() -> TlsMaterial.anchors(opened.toString(), opened.certificates()));
        return this;
    }

    /** Adds the certificates of a PEM file to the authorities for clients' certificates. */
    public TlsOptions authorities(Object pem) {
        Source source = new Source(":tls :ca", pem);
        watch(source);
        forClients.add(":ca in :tls");
        anchors.add(() -> TlsMaterial.anchors(source.toString(), PemIdentity.authorities(source)));
        return this;
    }

    /**
     * Adds lists of certificates that their authorities have revoked, from a file with PEM ({@code
     * X509 CRL}) or one list in DER. Clients with these are refused; and so are all whose chain has
     * an authority without a list, or with one that has expired.
     */
    public TlsOptions revocations(Object lists) {
        Source source = new Source(":tls :crl", lists);
        watch(source);
        forClients.add(":crl in :tls");
        revoked.add(() -> TlsMaterial.revoked(source.toString(), PemIdentity.revocations(source)));
        return this;
    }

    private void watch(Source source) {
        if (source != null) {
            sources.add(source);
        }
    }

    /**
     * Default {@code NONE}. The others need authorities, which are refused without a call of this
     * method; {@code NONE} switches them off.
     */
    public TlsOptions clientAuth(ClientAuth clientAuth) {
        if (clientAuth == null) {
            throw new IllegalArgumentException(":client-auth null: expected NONE, WANT or NEED");
        }
        this.clientAuth = clientAuth;
        return this;
    }

    /** {@code "TLSv1.3"}, {@code "TLSv1.2"}, or both, which is the default. */
    public TlsOptions protocols(String... names) {
        List<String> given = names == null ? List.of() : Arrays.asList(names);
        for (String name : given) {
            if (!"TLSv1.3".equals(name) && !"TLSv1.2".equals(name)) {
                throw new IllegalArgumentException(
                        ":ssl-protocols \"" + name + "\": only TLSv1.3 and TLSv1.2 are supported");
            }
        }
        if (given.isEmpty()) {
            throw new IllegalArgumentException(":ssl-protocols: expected TLSv1.3, TLSv1.2 or both");
        }
        tls12 = given.contains("TLSv1.2");
        tls13 = given.contains("TLSv1.3");
        return this;
    }

    /** Whether plain HTTP gets a 308 to https; default false. */
    public TlsOptions redirect(boolean redirect) {
        this.redirect = redirect;
        return this;
    }

    /** Seconds between checks of the files; 0: never. Default 60. */
    public TlsOptions scanSeconds(int seconds) {
        this.scanSeconds = seconds;
        return this;
    }

    int scanSeconds() {
        return scanSeconds;
    }

    /** The files to watch. */
    List<Path> files() {
        List<Path> files = new ArrayList<>();
        for (Source source : sources) {
            if (source.path() != null) {
                files.add(source.path());
            }
        }
        return files;
    }

    /**
     * Reads everything.
     *
     * @throws IOException if a file cannot be read, or a password is wrong
     * @throws IllegalArgumentException if something is missing or unsuitable
     */
    TlsMaterial read() throws IOException {
        if (identities.isEmpty()) {
            throw new IllegalArgumentException("TLS needs a certificate: give :keystore or :tls");
        }
        if (asksClients() && anchors.isEmpty()) {
            throw new IllegalArgumentException(
                    ":client-auth :"
                            + clientAuth.name().toLowerCase(java.util.Locale.ROOT)
                            + " needs :truststore (or :ca in :tls):"
                            + " who may sign clients' certificates?");
        }
        if (clientAuth == null && !forClients.isEmpty()) {
            throw new IllegalArgumentException(
                    forClients.get(0) + " has no effect without :client-auth");
        }
        return asksClients()
                ? new TlsMaterial(all(identities), all(anchors), all(revoked), flags())
                : new TlsMaterial(all(identities), List.of(), List.of(), flags());
    }

    private static <T> List<T> all(List<Reader<T>> readers) throws IOException {
        List<T> all = new ArrayList<>();
        for (Reader<T> reader : readers) {
            all.addAll(reader.read());
        }
        return all;
    }

    private boolean asksClients() {
        return clientAuth != null && clientAuth != ClientAuth.NONE;
    }

    private int flags() {
        int auth = 0;
        if (asksClients()) {
            auth = clientAuth == ClientAuth.WANT ? Abi.SERVER_TLS_WANT : Abi.SERVER_TLS_NEED;
        }
        return auth
                | (tls12 ? Abi.SERVER_TLS_12 : 0)
                | (tls13 ? Abi.SERVER_TLS_13 : 0)
                | (redirect ? Abi.SERVER_TLS_REDIRECT : 0);
    }
}
