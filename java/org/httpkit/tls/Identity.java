package org.httpkit.tls;

import java.security.GeneralSecurityException;
import java.security.InvalidKeyException;
import java.security.Key;
import java.security.KeyStore;
import java.security.KeyStoreException;
import java.security.cert.Certificate;
import java.security.cert.CertificateEncodingException;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/** A certificate chain with its private key, in a form that native TLS reads. Not API. */
public final class Identity {
    /** The option and what it names, for errors. */
    public final String where;

    /** What a sentence about the key begins with. */
    public final String whoseKey;

    /** The error if the key is not that of the certificate. */
    public final String mismatch;

    /** Not empty; the certificate of the key comes first. */
    public final List<X509Certificate> chain;

    /** PKCS#8, PKCS#1 or SEC 1, in DER; EC keys with their public key. */
    public final byte[] key;

    /** An OCSP response for the first certificate, in DER; null without one. */
    public final byte[] ocsp;

    /** The error if that is no OCSP response. */
    public final String noOcsp;

    Identity(
            String where,
            String whoseKey,
            String mismatch,
            List<X509Certificate> chain,
            byte[] key,
            byte[] ocsp,
            String noOcsp)
            throws GeneralSecurityException {
        this.ocsp = ocsp;
        this.noOcsp = noOcsp;
        this.where = where;
        this.whoseKey = whoseKey;
        this.mismatch = mismatch;
        this.chain = chain;
        this.key = EcKeys.complete(key, chain.get(0).getPublicKey(), mismatch);
    }

    /** The aliases of a store's key entries, in order: a store's own order depends on hashes. */
    public static List<String> aliases(KeyStore store) throws KeyStoreException {
        List<String> aliases = new ArrayList<>();
        for (String alias : Collections.list(store.aliases())) {
            if (store.isKeyEntry(alias)) {
                aliases.add(alias);
            }
        }
        Collections.sort(aliases);
        return aliases;
    }

    /**
     * The key entry of a store; null if the entry holds a secret key.
     *
     * @throws InvalidKeyException if its key or certificates cannot be used natively
     * @throws java.security.UnrecoverableKeyException if the password is wrong
     */
    public static Identity of(String where, KeyStore store, String alias, char[] password)
            throws GeneralSecurityException {
        String entry = where + " entry \"" + alias + "\"";
        Key key = store.getKey(alias, password);
        if (key instanceof javax.crypto.SecretKey) {
            return null;
        }
        byte[] encoded = "PKCS#8".equals(key.getFormat()) ? key.getEncoded() : null;
        if (encoded == null) {
            throw new InvalidKeyException(
                    entry + ": its key cannot leave its provider, which native TLS needs");
        }
        Certificate[] certificates = store.getCertificateChain(alias);
        List<X509Certificate> chain = new ArrayList<>();
        for (Certificate c : certificates == null ? new Certificate[0] : certificates) {
            if (!(c instanceof X509Certificate)) {
                throw new InvalidKeyException(entry + ": a certificate of type " + c.getType());
            }
            chain.add((X509Certificate) c);
        }
        if (chain.isEmpty()) {
            throw new InvalidKeyException(entry + " has a key, but no certificate");
        }
        return new Identity(
                entry,
                entry + ": its key",
                entry + ": its key does not belong to its certificate",
                chain,
                encoded,
                null,
                null);
    }

    /** The chain in DER. */
    public byte[][] encodedChain() throws CertificateEncodingException {
        return encoded(chain);
    }

    public static byte[][] encoded(List<X509Certificate> certificates)
            throws CertificateEncodingException {
        byte[][] encoded = new byte[certificates.size()][];
        for (int i = 0; i < encoded.length; i++) {
            encoded[i] = certificates.get(i).getEncoded();
        }
        return encoded;
    }
}
