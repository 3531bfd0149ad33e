package org.httpkit.client;

import org.httpkit.ProtocolException;
import org.httpkit.jni.Abi;

import java.net.URI;
import java.util.Collections;
import java.util.Map;
import java.util.WeakHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.function.Supplier;

import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;

/**
 * Which TLS a request uses: the native one wherever it can do the same as the JDK's, else an
 * SSLEngine on a Java-hosted channel.
 */
final class TlsChoice {
    private static final long DEFAULT_POLICY = 0;
    private static final long INSECURE_POLICY = 1;
    private static final AtomicLong POLICIES = new AtomicLong(INSECURE_POLICY);
    private static final Map<SSLEngine, Supplied> SUPPLIED =
            Collections.synchronizedMap(new WeakHashMap<>());

    /** {@code java} disables native TLS. */
    private static final boolean JAVA_ONLY =
            "java".equals(System.getProperty("http-kit.client.tls"));

    /** An engine supplied with a request: its connection serves only requests with that engine. */
    private static final class Supplied {
        final long policy = POLICIES.incrementAndGet();
        final AtomicBoolean used = new AtomicBoolean();
    }

    final boolean hosted;
    private final Supplier<SSLEngine> engine;

    /**
     * Whether a hosted channel carries only TLS; false in a tunnel, which is requested in the
     * clear.
     */
    final boolean fromTheStart;

    final int tls;
    final boolean sni;
    final long policy;

    private TlsChoice(
            boolean hosted,
            Supplier<SSLEngine> engine,
            boolean fromTheStart,
            int tls,
            boolean sni,
            long policy) {
        this.hosted = hosted;
        this.engine = engine;
        this.fromTheStart = fromTheStart;
        this.tls = tls;
        this.sni = sni;
        this.policy = policy;
    }

    static TlsChoice of(HttpClient client, Route route, RequestConfig config, SSLEngine supplied)
            throws Exception {
        long policy = config.insecure ? INSECURE_POLICY : DEFAULT_POLICY;
        boolean javaChannel = client.channelFactory() != HttpClient.ChannelFactory.DEFAULT;
        if (!route.tls() && !route.proxyTls()) {
            return new TlsChoice(javaChannel, null, false, Abi.TLS_NONE, false, policy);
        }
        HttpClient.SSLEngineURIConfigurer configurer = client.sslConfigurer();
        boolean eligible =
                !javaChannel
                        && isBuiltIn(configurer)
                        && !JAVA_ONLY
                        && (config.insecure || supplied == null && isJdksOwnContext());
        if (eligible && client.useNativeTls()) {
            return natively(route, config, configurer, policy);
        }
        return hosted(route, config, configurer, supplied, policy);
    }

    private static boolean isBuiltIn(HttpClient.SSLEngineURIConfigurer configurer) {
        return configurer == null
                || configurer == HttpClient.SSLEngineURIConfigurer.NOP
                || configurer.getClass() == SniConfigurer.class;
    }

    // An application's own context is named after its protocol; only the JDK's default one is
    // "Default".
    private static boolean isJdksOwnContext() {
        return "Default".equals(HttpClient.getDefaultContext().getProtocol());
    }

    private static TlsChoice natively(
            Route route,
            RequestConfig config,
            HttpClient.SSLEngineURIConfigurer configurer,
            long policy) {
        SniConfigurer sni = configurer instanceof SniConfigurer ? (SniConfigurer) configurer : null;
        URI peer = route.peer();
        String host = peer.getHost();
        if (sni != null && sni.sni() && SniConfigurer.isName(host)) {
            // For its IllegalArgumentException: a trailing dot is refused, as by the JDK.
            new SNIHostName(host);
        }
        boolean verifyName = sni != null && sni.hostnameVerification();
        int tls =
                config.insecure
                        ? Abi.TLS_TRUST_ALL
                        : verifyName ? Abi.TLS_VERIFY : Abi.TLS_VERIFY_CHAIN;
        Supplier<SSLEngine> other =
                route.proxyTls()
                        ? null
                        : () -> prepared(newEngine(config, peer), config, configurer, peer);
        return new TlsChoice(false, other, route.kind == Abi.ROUTE_DIRECT, tls, true, policy);
    }

    private static TlsChoice hosted(
            Route route,
            RequestConfig config,
            HttpClient.SSLEngineURIConfigurer configurer,
            SSLEngine supplied,
            long policy)
            throws ProtocolException {
        if (route.proxyTls()) {
            throw new ProtocolException(
                    "A tunnel through an https proxy needs the built-in TLS:"
                            + " no :sslengine, :ssl-configurer or :channel-factory");
        }
        URI peer = route.peer();
        SSLEngine engine =
                prepared(
                        config.insecure || supplied == null ? newEngine(config, peer) : supplied,
                        config,
                        configurer,
                        peer);
        long key =
                engine == supplied
                        ? SUPPLIED.computeIfAbsent(supplied, e -> new Supplied()).policy
                        : policy;
        int tls = config.insecure ? Abi.TLS_TRUST_ALL : Abi.TLS_VERIFY;
        return new TlsChoice(true, () -> engine, route.kind == Abi.ROUTE_DIRECT, tls, true, key);
    }

    private static SSLEngine prepared(
            SSLEngine engine,
            RequestConfig config,
            HttpClient.SSLEngineURIConfigurer configurer,
            URI peer) {
        if (!engine.getUseClientMode()) {
            engine.setUseClientMode(true);
        }
        if (configurer != null) {
            configurer.configure(engine, peer);
        }
        if (config.insecure) {
            SSLParameters parameters = engine.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("");
            engine.setSSLParameters(parameters);
        }
        return engine;
    }

    /** The engine of a hosted channel; null without TLS, or where only native TLS will do. */
    SSLEngine engine() {
        return engine == null ? null : engine.get();
    }

    /** Whether the JDK's TLS takes over if native TLS and the peer have nothing in common. */
    boolean takesOver() {
        return !hosted && engine != null;
    }

    private static SSLEngine newEngine(RequestConfig config, URI peer) {
        String host = Route.bareHost(peer);
        int port = Route.port(peer);
        return config.insecure
                ? ClientSslEngineFactory.trustAnybodyAt(host, port)
                : ClientSslEngineFactory.client(
                        HttpClient.getDefaultContext().createSSLEngine(host, port));
    }

    /** Call it before a handshake: an engine can make only one. */
    static void claim(SSLEngine engine) throws SSLException {
        Supplied supplied = SUPPLIED.get(engine);
        if (supplied != null && supplied.used.getAndSet(true)) {
            throw new SSLException(
                    "This :sslengine has made its one handshake, and its connection is gone:"
                            + " a new connection needs a new engine");
        }
    }
}
