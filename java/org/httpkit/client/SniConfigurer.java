package org.httpkit.client;

import java.net.URI;
import java.util.Collections;

import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLParameters;

/**
 * The configurer of the default client: sends the host name as SNI and has the certificate checked
 * against it.
 *
 * <p>The client recognises this class and can do the same natively.
 */
public class SniConfigurer implements HttpClient.SSLEngineURIConfigurer {
    /** Both on. */
    public static final SniConfigurer DEFAULT = new SniConfigurer(true, true);

    private final boolean sni;
    private final boolean hostnameVerification;

    public SniConfigurer(boolean sni, boolean hostnameVerification) {
        this.sni = sni;
        this.hostnameVerification = hostnameVerification;
    }

    boolean sni() {
        return sni;
    }

    boolean hostnameVerification() {
        return hostnameVerification;
    }

    /**
     * @throws IllegalArgumentException for hosts that are not SNI names, such as one with a
     *     trailing dot
     */
    @Override
    public void configure(SSLEngine engine, URI uri) {
        SSLParameters parameters = engine.getSSLParameters();
        if (hostnameVerification) {
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
        }
        if (sni && isName(uri.getHost())) {
            parameters.setServerNames(Collections.singletonList(new SNIHostName(uri.getHost())));
        }
        engine.setSSLParameters(parameters);
    }

    static boolean isName(String host) {
        return host != null && !host.startsWith("[") && !host.matches("[0-9]+(\\.[0-9]+){3}");
    }
}
