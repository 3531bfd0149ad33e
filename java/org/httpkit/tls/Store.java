package org.httpkit.tls;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.security.InvalidKeyException;
import java.security.KeyStore;
import java.security.KeyStoreException;
import java.security.NoSuchAlgorithmException;
import java.security.UnrecoverableKeyException;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A key store or trust store that an option names. Each method reads it anew. Not API. */
public final class Store {
    private static final int JKS = 0xfeedfeed;
    private static final int JCEKS = 0xcececece;

    private final String option;
    private final String passwordOption;

    /** Null if {@link #given} is the store itself. */
    private final Source source;

    private final KeyStore given;
    private final String type;
    private final char[] password;

    /**
     * @param option its name, for errors
     * @param value a {@link KeyStore}, or what a {@link Source} is made of
     * @param type {@code "PKCS12"} and the like; null: recognised by its first bytes
     */
    public Store(String option, Object value, String type, String passwordOption, char[] password) {
        this.option = option;
        this.passwordOption = passwordOption;
        this.given = value instanceof KeyStore ? (KeyStore) value : null;
        this.source = given == null ? new Source(option, value) : null;
        this.type = type;
        this.password = password == null ? null : password.clone();
    }

    /** Null if it is not a file. */
    public Source source() {
        return source;
    }

    private String where() {
        return source == null ? option : source.toString();
    }

    private KeyStore load() throws IOException {
        if (given != null) {
            return given;
        }
        byte[] bytes = source.read();
        try {
            return load(bytes, type != null ? type : typeOf(bytes), password);
        } catch (KeyStoreException e) {
            throw new IllegalArgumentException(
                    option + "-type \"" + type + "\": this JVM has no such key stores", e);
        } catch (IOException | GeneralSecurityException e) {
            throw new IOException(
                    source
                            + ": wrong "
                            + passwordOption
                            + ", or not a "
                            + (type == null ? "PKCS12 or JKS" : type)
                            + " store",
                    e);
        }
    }

    /** A store of this type from its bytes; a null password leaves out protected entries. */
    public static KeyStore load(byte[] bytes, String type, char[] password)
            throws IOException, GeneralSecurityException {
        KeyStore store = KeyStore.getInstance(type);
        store.load(new ByteArrayInputStream(bytes), password);
        return store;
    }

    private static String typeOf(byte[] bytes) {
        int magic = bytes.length < 4 ? 0 : java.nio.ByteBuffer.wrap(bytes).getInt();
        return magic == JKS ? "JKS" : magic == JCEKS ? "JCEKS" : "PKCS12";
    }

    /**
     * Its key entries, in the order of their aliases; at least one.
     *
     * @param keyPassword of the entries; null: the store's own
     */
    public List<Identity> identities(char[] keyPassword) throws IOException {
        KeyStore store = load();
        List<Identity> identities = new ArrayList<>();
        try {
            for (String alias : Identity.aliases(store)) {
                Identity identity = identity(store, alias, keyPassword);
                if (identity != null) {
                    identities.add(identity);
                }
            }
            if (identities.isEmpty()) {
                throw new IllegalArgumentException(
                        where()
                                + " has no private key; "
                                + contents(store)
                                + (store.size() == 0 ? hint() : ""));
            }
        } catch (KeyStoreException e) {
            throw new IllegalArgumentException(where() + ": " + e.getMessage(), e);
        }
        return identities;
    }

    private Identity identity(KeyStore store, String alias, char[] keyPassword)
            throws IOException, KeyStoreException {
        String entry = where() + " entry \"" + alias + "\"";
        char[] used = keyPassword == null ? password : keyPassword;
        try {
            return Identity.of(where(), store, alias, used == null ? new char[0] : used);
        } catch (InvalidKeyException e) {
            boolean bare = source != null && store.getCertificateChain(alias) == null;
            throw new IllegalArgumentException(e.getMessage() + (bare ? hint() : ""), e);
        } catch (UnrecoverableKeyException e) {
            if (e.getCause() instanceof NoSuchAlgorithmException) {
                throw new IOException(
                        entry
                                + ": "
                                + e.getCause().getMessage()
                                + "; this JVM lacks a module that has it, such as jdk.crypto.ec",
                        e);
            }
            String option = keyPassword == null ? passwordOption : ":key-manager-password";
            throw new IOException(
                    entry + (used == null ? " needs a password: give " : ": wrong ") + option, e);
        } catch (GeneralSecurityException e) {
            throw new IOException(entry + ": " + e.getMessage(), e);
        }
    }

    private static String contents(KeyStore store) throws KeyStoreException {
        List<String> entries = new ArrayList<>();
        for (String alias : Collections.list(store.aliases())) {
            String kind = store.isCertificateEntry(alias) ? "certificate" : "secret key";
            entries.add(alias + " (" + kind + ")");
        }
        Collections.sort(entries);
        return entries.isEmpty()
                ? "it has no entries"
                : "its entries: " + String.join(", ", entries);
    }

    /** Its trusted certificates, in the order of their aliases; at least one. */
    public List<X509Certificate> certificates() throws IOException {
        KeyStore store = load();
        List<X509Certificate> certificates = new ArrayList<>();
        try {
            List<String> aliases = Collections.list(store.aliases());
            Collections.sort(aliases);
            for (String alias : aliases) {
                Certificate certificate = store.getCertificate(alias);
                if (store.isCertificateEntry(alias) && certificate instanceof X509Certificate) {
                    certificates.add((X509Certificate) certificate);
                }
            }
        } catch (KeyStoreException e) {
            throw new IllegalArgumentException(where() + ": " + e.getMessage(), e);
        }
        if (certificates.isEmpty()) {
            throw new IllegalArgumentException(where() + " has no trusted certificate" + hint());
        }
        return certificates;
    }

    /**
     * Without a password the JDK reads a store whose certificates are encrypted as an empty one.
     */
    private String hint() {
        return given == null && password == null
                ? "; is " + passwordOption + " missing? It may be \"\""
                : "";
    }

    /** The name and value of the option. */
    @Override
    public String toString() {
        return where();
    }
}
