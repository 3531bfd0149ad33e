package org.httpkit.tls;

import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import java.security.InvalidKeyException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.PublicKey;
import java.security.Signature;
import java.security.interfaces.ECPublicKey;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.ArrayList;
import java.util.List;

/**
 * Completes EC keys. Native TLS wants the public key beside the private one, where it is optional
 * (RFC 5915); Java, and so keytool, leaves it out.
 */
final class EcKeys {
    private static final int INTEGER = 0x02;
    private static final int OCTET_STRING = 0x04;
    private static final int SEQUENCE = 0x30;
    private static final int PUBLIC_KEY = 0xa1;

    private EcKeys() {}

    /**
     * @param der a private key of any kind
     * @param mismatch what to throw if it does not belong to the public key and that shows here
     * @return a PKCS#8 key for an EC key that was incomplete; others as they are
     */
    static byte[] complete(byte[] der, PublicKey publicKey, String mismatch)
            throws GeneralSecurityException {
        if (!(publicKey instanceof ECPublicKey)) {
            return der;
        }
        byte[] secret = secretOfIncomplete(der);
        if (secret == null) {
            return der;
        }
        // The certificate's key: its algorithm, then its bits.
        List<Element> known = Element.children(publicKey.getEncoded(), SEQUENCE);
        if (known == null || known.size() != 2) {
            return der;
        }
        byte[] key =
                Element.write(
                        SEQUENCE,
                        Element.write(INTEGER, new byte[] {1}),
                        Element.write(OCTET_STRING, secret),
                        Element.write(PUBLIC_KEY, known.get(1).whole));
        byte[] completed =
                Element.write(
                        SEQUENCE,
                        Element.write(INTEGER, new byte[] {0}),
                        known.get(0).whole,
                        Element.write(OCTET_STRING, key));
        if (!belongTogether(completed, publicKey)) {
            throw new InvalidKeyException(mismatch);
        }
        return completed;
    }

    /** The private number of an EC key without its public key; null for any other key. */
    private static byte[] secretOfIncomplete(byte[] der) {
        List<Element> parts = Element.children(der, SEQUENCE);
        boolean isPkcs8 =
                parts != null
                        && parts.size() >= 3
                        && parts.get(1).tag == SEQUENCE
                        && parts.get(2).tag == OCTET_STRING;
        if (isPkcs8) {
            parts = Element.children(parts.get(2).content, SEQUENCE);
        }
        if (parts == null || parts.size() < 2 || parts.get(1).tag != OCTET_STRING) {
            return null;
        }
        boolean complete = parts.stream().anyMatch(part -> part.tag == PUBLIC_KEY);
        return complete ? null : parts.get(1).content;
    }

    private static boolean belongTogether(byte[] pkcs8, PublicKey publicKey) {
        try {
            PrivateKey key =
                    KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(pkcs8));
            Signature signature = Signature.getInstance("SHA256withECDSA");
            signature.initSign(key);
            signature.update(pkcs8);
            byte[] signed = signature.sign();
            signature.initVerify(publicKey);
            signature.update(pkcs8);
            return signature.verify(signed);
        } catch (GeneralSecurityException e) {
            return false; // the private number is none of the certificate's curve
        }
    }

    /** A tagged value of DER. */
    private static final class Element {
        final int tag;
        final byte[] content;
        final byte[] whole;

        private Element(int tag, byte[] content, byte[] whole) {
            this.tag = tag;
            this.content = content;
            this.whole = whole;
        }

        /** The content of the only element of {@code der}; null if it is no such element. */
        static List<Element> children(byte[] der, int tag) {
            List<Element> outer = all(der);
            return outer == null || outer.size() != 1 || outer.get(0).tag != tag
                    ? null
                    : all(outer.get(0).content);
        }

        private static List<Element> all(byte[] bytes) {
            List<Element> elements = new ArrayList<>();
            ByteBuffer in = ByteBuffer.wrap(bytes);
            while (in.hasRemaining()) {
                int start = in.position();
                int tag = in.get() & 0xff;
                int length = length(in);
                if (length < 0 || length > in.remaining()) {
                    return null;
                }
                byte[] content = new byte[length];
                in.get(content);
                elements.add(
                        new Element(
                                tag,
                                content,
                                java.util.Arrays.copyOfRange(bytes, start, in.position())));
            }
            return elements;
        }

        /** -1 if it is not a length, or is longer than any key. */
        private static int length(ByteBuffer in) {
            if (!in.hasRemaining()) {
                return -1;
            }
            int first = in.get() & 0xff;
            int octets = first < 0x80 ? 0 : first & 0x7f;
            if (octets > 2 || octets > in.remaining() || first == 0x80) {
                return -1;
            }
            int length = octets == 0 ? first : 0;
            for (int i = 0; i < octets; i++) {
                length = length << 8 | in.get() & 0xff;
            }
            return length;
        }

        static byte[] write(int tag, byte[]... parts) {
            int length = 0;
            for (byte[] part : parts) {
                length += part.length;
            }
            ByteBuffer out = ByteBuffer.allocate(length + 4).put((byte) tag);
            if (length < 0x80) {
                out.put((byte) length);
            } else if (length < 0x100) {
                out.put((byte) 0x81).put((byte) length);
            } else {
                out.put((byte) 0x82).putShort((short) length);
            }
            for (byte[] part : parts) {
                out.put(part);
            }
            return java.util.Arrays.copyOf(out.array(), out.position());
        }
    }
}
