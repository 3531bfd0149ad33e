package org.httpkit.tls;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.security.GeneralSecurityException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;

/** The blocks of PEM files (RFC 7468). Not API. */
final class Pem {
    private static final String BEGIN = "-----BEGIN ";
    private static final String END = "-----END ";
    private static final byte DER_SEQUENCE = 0x30;

    /** One block. */
    static final class Block {
        /** As in {@code BEGIN CERTIFICATE}. */
        final String label;

        final byte[] der;

        /** Whether it is encrypted in the way of OpenSSL before version 1. */
        final boolean oldEncryption;

        private Block(String label, byte[] der, boolean oldEncryption) {
            this.label = label;
            this.der = der;
            this.oldEncryption = oldEncryption;
        }
    }

    private Pem() {}

    /** The blocks of a file in their order; text between them is ignored. */
    static List<Block> blocks(Source source) throws IOException {
        return blocks(source, source.read());
    }

    private static List<Block> blocks(Source source, byte[] file) {
        List<Block> blocks = new ArrayList<>();
        String label = null;
        boolean oldEncryption = false;
        StringBuilder base64 = new StringBuilder();
        for (String line : new String(file, ISO_8859_1).split("\r\n|\n|\r")) {
            String text = line.trim();
            if (text.startsWith(BEGIN) && text.endsWith("-----")) {
                label = text.substring(BEGIN.length(), text.length() - 5);
                oldEncryption = false;
                base64.setLength(0);
            } else if (label != null && text.startsWith(END)) {
                blocks.add(new Block(label, decode(source, label, base64), oldEncryption));
                label = null;
            } else if (text.indexOf(':') >= 0) {
                oldEncryption |= text.startsWith("DEK-Info:");
            } else {
                base64.append(text);
            }
        }
        if (label != null) {
            throw new IllegalArgumentException(source + ": BEGIN " + label + " without END");
        }
        return blocks;
    }

    private static byte[] decode(Source source, String label, StringBuilder base64) {
        try {
            return Base64.getDecoder().decode(base64.toString());
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException(
                    source + ": what follows BEGIN " + label + " is no base64", e);
        }
    }

    /** The certificates of a file in their order; at least one. */
    static List<X509Certificate> certificates(Source source) throws IOException {
        List<X509Certificate> certificates = new ArrayList<>();
        for (Block block : blocks(source)) {
            if (block.label.equals("CERTIFICATE") || block.label.equals("X509 CERTIFICATE")) {
                certificates.add(certificate(source, block.der));
            }
        }
        if (certificates.isEmpty()) {
            throw new IllegalArgumentException(
                    source + " has no certificate: expected PEM with BEGIN CERTIFICATE");
        }
        return certificates;
    }

    /** The lists of revoked certificates in a file, which may also be one in DER; at least one. */
    static List<X509CRL> revocations(Source source) throws IOException {
        byte[] bytes = source.read();
        List<X509CRL> lists = new ArrayList<>();
        if (bytes.length > 0 && bytes[0] == DER_SEQUENCE) {
            lists.add(revocation(source, bytes));
        }
        for (Block block : lists.isEmpty() ? blocks(source, bytes) : List.<Block>of()) {
            if (block.label.equals("X509 CRL")) {
                lists.add(revocation(source, block.der));
            }
        }
        if (lists.isEmpty()) {
            throw new IllegalArgumentException(
                    source + " has no list of revoked certificates: expected BEGIN X509 CRL");
        }
        return lists;
    }

    private static X509CRL revocation(Source source, byte[] der) {
        try {
            return (X509CRL)
                    CertificateFactory.getInstance("X.509")
                            .generateCRL(new ByteArrayInputStream(der));
        } catch (GeneralSecurityException e) {
            throw new IllegalArgumentException(
                    source
                            + ": a list of revoked certificates that cannot be read: "
                            + e.getMessage(),
                    e);
        }
    }

    private static X509Certificate certificate(Source source, byte[] der) {
        try {
            return (X509Certificate)
                    CertificateFactory.getInstance("X.509")
                            .generateCertificate(new ByteArrayInputStream(der));
        } catch (CertificateException e) {
            throw new IllegalArgumentException(
                    source + ": a certificate that cannot be read: " + e.getMessage(), e);
        }
    }
}
