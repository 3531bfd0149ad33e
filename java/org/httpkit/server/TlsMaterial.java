package org.httpkit.server;

import org.httpkit.jni.Native;
import org.httpkit.tls.Certificates;
import org.httpkit.tls.Identity;

import java.security.cert.CRLException;
import java.security.cert.CertificateEncodingException;
import java.security.cert.X509CRL;
import java.security.cert.X509Certificate;
import java.time.LocalDate;
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
            Pattern.compile("(identity|anchor|crl) ([0-9]+): (.*)", Pattern.DOTALL);

    private static final String KEY = "its key ";
    private static final String MISMATCH = KEY + "does not belong to its certificate";
    private static final String NO_OCSP = "its OCSP response cannot be read";

    /** An authority, and the option that names it. */
    static final class Anchor {
        final String where;
        final X509Certificate certificate;

        private Anchor(String where, X509Certificate certificate) {
            this.where = where;
            this.certificate = certificate;
        }
    }

    /** A list of revoked certificates, and the option that names it. */
    static final class Revoked {
        final String where;
        final X509CRL list;

        private Revoked(String where, X509CRL list) {
            this.where = where;
            this.list = list;
        }

        @Override
        public String toString() {
            return where + ": list of \"" + list.getIssuerX500Principal().getName() + "\"";
        }
    }

    private final List<Identity> identities;
    private final List<Anchor> anchors;
    private final List<Revoked> revoked;
    private final int flags;

    /**
     * Of each identity, until when its OCSP response holds; in seconds since 1970. 0: it is about
     * another certificate.
     */
    private long[] stapledUntil = {};

    TlsMaterial(List<Identity> identities, List<Anchor> anchors, List<Revoked> revoked, int flags) {
        this.identities = identities;
        this.anchors = anchors;
        this.revoked = revoked;
        this.flags = flags;
    }

    static List<Anchor> anchors(String where, List<X509Certificate> certificates) {
        List<Anchor> anchors = new ArrayList<>();
        for (X509Certificate certificate : certificates) {
            anchors.add(new Anchor(where, certificate));
        }
        return anchors;
    }

    static List<Revoked> revoked(String where, List<X509CRL> lists) {
        List<Revoked> revoked = new ArrayList<>();
        for (X509CRL list : lists) {
            revoked.add(new Revoked(where, list));
        }
        return revoked;
    }

    /** The certificates of the server itself. */
    List<X509Certificate> leaves() {
        List<X509Certificate> leaves = new ArrayList<>();
        for (Identity identity : identities) {
            leaves.add(identity.chain.get(0));
        }
        return leaves;
    }

    /** A warning for each part that is no longer valid. */
    List<String> warnings() {
        List<String> warnings = new ArrayList<>();
        Date now = new Date();
        for (X509Certificate leaf : leaves()) {
            if (leaf.getNotAfter().before(now)) {
                warnings.add(
                        "certificate of \""
                                + Certificates.name(leaf)
                                + "\" expired on "
                                + day(leaf.getNotAfter()));
            }
        }
        for (Revoked part : revoked) {
            Date end = part.list.getNextUpdate();
            if (end != null && end.before(now)) {
                warnings.add(
                        part
                                + " expired on "
                                + day(end)
                                + ": clients with a certificate from there are refused");
            }
        }
        for (int i = 0; i < stapledUntil.length; i++) {
            if (stapledUntil[i] < now.getTime() / 1000) {
                warnings.add(
                        identities.get(i).where
                                + ": its OCSP response "
                                + (stapledUntil[i] == 0
                                        ? "is about another certificate, or has an unreadable date,"
                                        : "expired on " + day(new Date(stapledUntil[i] * 1000)))
                                + " and is not sent");
            }
        }
        return warnings;
    }

    private static LocalDate day(Date time) {
        return time.toInstant().atZone(ZoneOffset.UTC).toLocalDate();
    }

    /**
     * Hands it to a server, for connections from now on; 0 only checks it.
     *
     * @throws IllegalArgumentException if native TLS cannot use it; the server keeps what it has
     */
    void give(long server) {
        byte[][][] chains = new byte[identities.size()][][];
        byte[][] keys = new byte[identities.size()][];
        byte[][] staples = new byte[identities.size()][];
        byte[][] lists = new byte[revoked.size()][];
        List<X509Certificate> authorities = new ArrayList<>();
        anchors.forEach(anchor -> authorities.add(anchor.certificate));
        try {
            for (int i = 0; i < keys.length; i++) {
                chains[i] = identities.get(i).encodedChain();
                keys[i] = identities.get(i).key;
                staples[i] = identities.get(i).ocsp;
            }
            for (int i = 0; i < lists.length; i++) {
                lists[i] = revoked.get(i).list.getEncoded();
            }
            byte[][] encoded = Identity.encoded(authorities);
            stapledUntil = Native.serverTls(server, chains, keys, staples, encoded, lists, flags);
        } catch (CertificateEncodingException | CRLException e) {
            throw new IllegalStateException("what was read cannot be written", e);
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
        if (part.group(1).equals("crl")) {
            return revoked.get(index) + ": " + reason;
        }
        Identity identity = identities.get(index);
        if (reason.equals(MISMATCH)) {
            return identity.mismatch;
        }
        if (reason.equals(NO_OCSP)) {
            return identity.noOcsp;
        }
        if (reason.startsWith(KEY)) {
            return identity.whoseKey + " " + reason.substring(KEY.length());
        }
        return reason.startsWith("certificate of ") ? reason : identity.where + ": " + reason;
    }
}
