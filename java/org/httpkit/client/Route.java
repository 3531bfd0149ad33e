package org.httpkit.client;

import org.httpkit.Authority;
import org.httpkit.HttpUtils;
import org.httpkit.ProtocolException;
import org.httpkit.jni.Abi;

import java.net.URI;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.util.Base64;
import java.util.Locale;

/**
 * Where a request goes, and how: the parsed URL, the proxy, and every check of both that needs no
 * network.
 */
final class Route {
    private static final int MAX_PORT = 65535;
    private static final String ABSOLUTE = " (expected a whole URL, such as http://host:port/path)";

    private static final String PROXY = "proxy ";

    /** How a proxy's URL ends that was made of a host and no port. */
    private static final String NO_PORT = ":-1";

    final URI uri;

    /** Null without a proxy. */
    final URI proxy;

    /** {@code Abi.ROUTE_*}; an absolute-form proxy is direct. */
    final int kind;

    private Route(URI uri, URI proxy, int kind) {
        this.uri = uri;
        this.proxy = proxy;
        this.kind = kind;
    }

    static Route of(String url, RequestConfig config) throws URISyntaxException, ProtocolException {
        URI uri = parse(url);
        checkHost(uri, url, "");
        checkScheme(uri, "");
        if (config.proxyUrl == null) {
            return new Route(uri, null, Abi.ROUTE_DIRECT);
        }
        if (config.tunnel) {
            throw new ProtocolException(
                    "Proxy tunneling is not supported; refusing to treat the CONNECT response"
                            + " as the target response (:proxy-tunnel? true opens a tunnel)");
        }
        URI proxy = parse(config.proxyUrl);
        checkHost(proxy, config.proxyUrl, PROXY);
        if (scheme(proxy).matches("socks5h?")) {
            if (!config.proxyTunnel) {
                throw new ProtocolException(
                        proxy.getScheme() + " for proxy needs :proxy-tunnel? true");
            }
            return new Route(uri, proxy, Abi.ROUTE_SOCKS5);
        }
        checkScheme(proxy, " for proxy");
        return new Route(uri, proxy, config.proxyTunnel ? Abi.ROUTE_TUNNEL : Abi.ROUTE_DIRECT);
    }

    private static URI parse(String url) throws URISyntaxException {
        try {
            return new URI(url);
        } catch (URISyntaxException e) {
            String shown = withoutCredentials(url);
            String reason = e.getReason() + (url.contains("//") ? "" : ABSOLUTE);
            throw new URISyntaxException(shown, reason, shown.equals(url) ? e.getIndex() : -1);
        }
    }

    private static void checkHost(URI uri, String url, String what) {
        if (Authority.of(uri).host == null) {
            throw new IllegalArgumentException(
                    what
                            + "host is null: "
                            + withoutCredentials(url)
                            + hint(uri.getRawAuthority(), what));
        }
    }

    private static String hint(String authority, String what) {
        if (authority == null) {
            return ABSOLUTE;
        }
        if (what.equals(PROXY) && authority.endsWith(NO_PORT)) {
            return " (:proxy-host needs :proxy-port)";
        }
        boolean ascii = authority.chars().allMatch(c -> c < 0x80);
        return ascii ? "" : " (java.net.IDN/toASCII writes such a name in ASCII)";
    }

    /** For error texts, which end up in logs. */
    private static String withoutCredentials(String url) {
        return url.replaceFirst("(?s)//.*@", "//***@");
    }

    private static void checkScheme(URI uri, String what) throws ProtocolException {
        String scheme = uri.getScheme();
        if (scheme == null) {
            throw new ProtocolException("No protocol specified");
        }
        if (!scheme.equalsIgnoreCase("http") && !scheme.equalsIgnoreCase("https")) {
            throw new ProtocolException(scheme + what + " is not supported");
        }
    }

    private static String scheme(URI uri) {
        return uri.getScheme() == null ? "" : uri.getScheme().toLowerCase(Locale.ROOT);
    }

    private static boolean https(URI uri) {
        return "https".equalsIgnoreCase(uri.getScheme());
    }

    boolean absoluteForm() {
        return proxy != null && kind == Abi.ROUTE_DIRECT;
    }

    /** The peer that the socket is connected to. */
    URI endpoint() {
        return proxy == null ? uri : proxy;
    }

    /**
     * The peer that receives the request itself: the target, or a proxy of absolute-form requests.
     */
    URI peer() {
        return absoluteForm() ? proxy : uri;
    }

    /** Whether the request travels over TLS. */
    boolean tls() {
        return https(peer());
    }

    /** Whether the CONNECT itself travels over TLS. */
    boolean proxyTls() {
        return kind == Abi.ROUTE_TUNNEL && https(proxy);
    }

    /** The target in the request line. */
    String target() {
        return absoluteForm() ? HttpUtils.getProxyTarget(uri) : HttpUtils.getPath(uri);
    }

    String poolHost() {
        String host = Authority.of(uri).host;
        return proxy == null ? host : Authority.of(proxy).host + host;
    }

    /** A host without the brackets of an IPv6 literal. */
    static String bareHost(URI uri) {
        return Authority.of(uri).bareHost();
    }

    /** A SOCKS5 proxy's port is 1080 if the URL names none. */
    static int port(URI uri) {
        boolean socks = scheme(uri).startsWith("socks") && Authority.of(uri).port == -1;
        int port = socks ? 1080 : HttpUtils.getPort(uri);
        if (port > MAX_PORT) {
            throw new IllegalArgumentException("port out of range:" + port);
        }
        return port;
    }

    /** User and password of the proxy URL, decoded; null without userinfo. */
    String[] proxyCredentials() {
        String info = proxy == null ? null : Authority.of(proxy).rawUserInfo;
        if (info == null) {
            return null;
        }
        int colon = info.indexOf(':');
        return colon < 0
                ? new String[] {decoded(info), ""}
                : new String[] {
                    decoded(info.substring(0, colon)), decoded(info.substring(colon + 1))
                };
    }

    // Not URLDecoder, to which a plus is a blank.
    private static String decoded(String userInfo) {
        return URI.create("//" + userInfo + "@host").getUserInfo();
    }

    /** The Proxy-Authorization that the proxy URL asks for; null without userinfo. */
    String proxyAuthorization() {
        String[] credentials = proxyCredentials();
        if (credentials == null) {
            return null;
        }
        byte[] pair = (credentials[0] + ":" + credentials[1]).getBytes(StandardCharsets.UTF_8);
        return "Basic " + Base64.getEncoder().encodeToString(pair);
    }
}
