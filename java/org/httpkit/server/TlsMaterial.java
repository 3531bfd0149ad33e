package org.httpkit.server;

import org.httpkit.jni.Native;
import org.httpkit.tls.Certificates;
import org.httpkit.tls.Identity;

import java.security.cert.CertificateEncodingException;
import java.security.cert.X509Certificate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Certificates, keys and authorities of a server, as they were read. */
final class TlsMaterial {
    /** How native errors name the part that they are about. */
    private static final Pattern PART =
            Pattern.compile("(identity|anchor) ([0-9]+): (.*)", Pattern.DOTALL);

    private static final String MISMATCH = "its key does not belong to its certificate";

    /** An authority, and the option that names it. */
    static final class Anchor {
        final String where;
        final X509Certificate certificate;

        private Anchor(String where, X509Certificate certificate) {
            this.where = where;
            this.certificate = certificate;
        }
    }

    private final List<Identity> identities;
    private final List<Anchor> anchors;
    private final int flags;

    TlsMaterial(List<Identity> identities, List<Anchor> anchors, int flags) {
        this.identities = identities;
        this.anchors = anchors;
        this.flags = flags;
    }

    static List<Anchor> anchors(String where, List<X509Certificate> certificates) {
        List<Anchor> anchors = new ArrayList<>();
        for (X509Certificate certificate : certificates) {
            anchors.add(new Anchor(where, certificate));
        }
        return anchors;
    }

    /** The certificates of the server itself. */
    List<X509Certificate> leaves() {
        List<X509Certificate> leaves = new ArrayList<>();
        for (Identity identity : identities) {
            leaves.add(identity.chain.get(0));
        }
        return leaves;
    }

    /** A warning for each certificate that is no longer valid. */
    List<String> warnings() {
        List<String> warnings = new ArrayList<>();
        Date now = new Date();
        for (X509Certificate leaf : leaves()) {
            if (leaf.getNotAfter().before(now)) {
                warnings.add(
                        "certificate of \""
                                + Certificates.name(leaf)
                                + "\" expired on "
                                + leaf.getNotAfter()
                                        .toInstant()
                                        .atZone(ZoneOffset.UTC)
                                        .toLocalDate());
            }
        }
        return warnings;
    }

    /**
     * Hands it to a server, for connections from now on; 0 only checks it.
     *
     * @throws IllegalArgumentException if native TLS cannot use it; the server keeps what it has
     */
    void give(long server) {
        byte[][][] chains = new byte[identities.size()][][];
        byte[][] keys = new byte[identities.size()][];
        List<X509Certificate> authorities = new ArrayList<>();
        anchors.forEach(anchor -> authorities.add(anchor.certificate));
        try {
            for (int i = 0; i < keys.length; i++) {
                chains[i] = identities.get(i).encodedChain();
                keys[i] = identities.get(i).key;
            }
            Native.serverTls(server, chains, keys, Identity.encoded(authorities), flags);
        } catch (CertificateEncodingException e) {
            throw new IllegalStateException("a certificate that was read cannot be written", e);
        } catch (IllegalArgumentException e) {
            throw new IllegalArgumentException(explained(String.valueOf(e.getMessage())), e);
        }
    }

    /** A native error in terms of the options. */
    private String explained(String message) {
        Matcher part = PART.matcher(message);
        if (!part.matches()) {
            return message;
        }
        int index = Integer.parseInt(part.group(2));
        String reason = part.group(3);
        if (part.group(1).equals("anchor")) {
            Anchor anchor = anchors.get(index);
            return anchor.where
                    + ": certificate of \""
                    + Certificates.name(anchor.certificate)
                    + "\": "
                    + reason;
        }
        Identity identity = identities.get(index);
        if (reason.equals(MISMATCH)) {
            return identity.mismatch;
        }
        return reason.startsWith("certificate of ") ? reason : identity.where + ": " + reason;
    }
}
