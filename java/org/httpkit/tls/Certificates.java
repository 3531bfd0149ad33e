package org.httpkit.tls;

import java.security.cert.CertificateParsingException;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/** The subjects and names of certificates. Not API. */
public final class Certificates {
    private static final int DNS_NAME = 2;
    private static final int IP_ADDRESS = 7;

    private Certificates() {}

    /** Its DNS names and IP addresses. */
    public static List<String> names(X509Certificate certificate) {
        List<String> names = new ArrayList<>();
        for (List<?> name : alternatives(certificate)) {
            int kind = (Integer) name.get(0);
            if (kind == DNS_NAME || kind == IP_ADDRESS) {
                names.add(name.get(1).toString());
            }
        }
        return names;
    }

    private static Collection<List<?>> alternatives(X509Certificate certificate) {
        try {
            Collection<List<?>> names = certificate.getSubjectAlternativeNames();
            return names == null ? List.of() : names;
        } catch (CertificateParsingException e) {
            return List.of(); // native TLS reads them too, and says what is wrong
        }
    }

    /** Its subject, such as {@code CN=a.example,O=Example}. */
    public static String subject(X509Certificate certificate) {
        return certificate.getSubjectX500Principal().getName();
    }

    /** Its first name, or else its subject. */
    public static String name(X509Certificate certificate) {
        List<String> names = names(certificate);
        return names.isEmpty() ? subject(certificate) : names.get(0);
    }
}
