package org.httpkit.tls;

import java.io.IOException;
import java.nio.CharBuffer;
import java.security.GeneralSecurityException;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.security.spec.InvalidKeySpecException;
import java.util.List;
import java.util.Set;

import javax.crypto.Cipher;
import javax.crypto.EncryptedPrivateKeyInfo;
import javax.crypto.SecretKey;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.PBEKeySpec;

/** A certificate chain and its key in PEM files. Each method reads them anew. Not API. */
public final class PemIdentity {
    private static final String ENCRYPTED = "ENCRYPTED PRIVATE KEY";
    private static final String PBES2_MEMBER = "PBEWithHmac";
    private static final String ONLY_ASCII = "this JVM takes only ASCII in its :key-password";
    private static final Set<String> KEYS =
            Set.of("PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", ENCRYPTED);

    private final Source certificate;
    private final Source key;
    private final char[] password;

    /** Null if there is none. */
    private final Source ocsp;

    /**
     * @param password of the key; null for one that is not encrypted
     * @param ocsp an OCSP response for the certificate, in DER; or null
     */
    public PemIdentity(Source certificate, Source key, char[] password, Source ocsp) {
        this.certificate = certificate;
        this.key = key;
        this.ocsp = ocsp;
        this.password = password == null ? null : password.clone();
    }

    public List<Source> sources() {
        return ocsp == null ? List.of(certificate, key) : List.of(certificate, key, ocsp);
    }

    public Identity identity() throws IOException {
        List<X509Certificate> chain = Pem.certificates(certificate);
        String mismatch =
                key
                        + " does not belong to the certificate in "
                        + certificate.toString().replaceFirst("^[^\"]*", "");
        try {
            byte[] response = ocsp == null ? null : ocsp.read();
            String noResponse = ocsp + " is no OCSP response in DER";
            return new Identity(
                    certificate.toString(),
                    key.toString(),
                    mismatch,
                    chain,
                    keyDer(),
                    response,
                    noResponse);
        } catch (GeneralSecurityException e) {
            throw new IllegalArgumentException(e.getMessage(), e);
        }
    }

    /** The certificates of authorities in a PEM file; at least one. */
    public static List<X509Certificate> authorities(Source source) throws IOException {
        return Pem.certificates(source);
    }

    /** Lists of revoked certificates, in PEM or as one in DER; at least one. */
    public static List<X509CRL> revocations(Source source) throws IOException {
        return Pem.revocations(source);
    }

    private byte[] keyDer() throws IOException {
        for (Pem.Block block : Pem.blocks(key)) {
            if (!KEYS.contains(block.label)) {
                continue; // parameters of a curve, or certificates in the same file
            }
            if (block.oldEncryption) {
                throw new IllegalArgumentException(
                        key
                                + " is encrypted in OpenSSL's old form;"
                                + " `openssl pkcs8 -topk8` converts it");
            }
            return block.label.equals(ENCRYPTED) ? decrypted(block.der) : block.der;
        }
        throw new IllegalArgumentException(
                key + " has no private key: expected PEM with BEGIN PRIVATE KEY");
    }

    private byte[] decrypted(byte[] der) throws IOException {
        if (password == null) {
            throw new IllegalArgumentException(key + " is encrypted: give :key-password");
        }
        EncryptedPrivateKeyInfo info;
        Cipher cipher;
        try {
            info = new EncryptedPrivateKeyInfo(der);
            cipher = decryptor(info);
        } catch (IOException | GeneralSecurityException e) {
            if (e instanceof InvalidKeySpecException && !isAscii()) {
                throw new IOException(key + ": " + ONLY_ASCII, e);
            }
            throw new IllegalArgumentException(
                    key
                            + " is encrypted in a way that this JVM does not know ("
                            + e.getMessage()
                            + "); `openssl pkcs8 -topk8 -v2 aes256` converts it",
                    e);
        }
        try {
            return info.getKeySpec(cipher).getEncoded();
        } catch (GeneralSecurityException e) {
            // A JDK that takes other characters does so right in PBES2 only.
            boolean doubtful = !isAscii() && !algorithm(info).startsWith(PBES2_MEMBER);
            String wrong = ": wrong :key-password" + (doubtful ? ", or " + ONLY_ASCII : "");
            throw new IOException(key + wrong, e);
        }
    }

    private boolean isAscii() {
        return CharBuffer.wrap(password).chars().allMatch(c -> c < 0x80);
    }

    /**
     * PBES2 is a family; older JDKs name its member, such as PBEWithHmacSHA256AndAES_256, only in
     * the parameters.
     */
    private static String algorithm(EncryptedPrivateKeyInfo info) {
        boolean family = Set.of("PBES2", "1.2.840.113549.1.5.13").contains(info.getAlgName());
        return family ? info.getAlgParameters().toString() : info.getAlgName();
    }

    private Cipher decryptor(EncryptedPrivateKeyInfo info) throws GeneralSecurityException {
        String algorithm = algorithm(info);
        PBEKeySpec spec = new PBEKeySpec(password);
        try {
            SecretKey secret = SecretKeyFactory.getInstance(algorithm).generateSecret(spec);
            Cipher cipher = Cipher.getInstance(algorithm);
            cipher.init(Cipher.DECRYPT_MODE, secret, info.getAlgParameters());
            return cipher;
        } finally {
            spec.clearPassword();
        }
    }
}
