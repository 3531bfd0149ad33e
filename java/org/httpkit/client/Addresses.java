package org.httpkit.client;

import org.httpkit.Authority;
import org.httpkit.client.HttpClient.AddressFinder;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.channels.UnsupportedAddressTypeException;
import java.util.Locale;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/** Finds the addresses of a client's requests. */
final class Addresses {
    private static final String OCTET = "(25[0-5]|2[0-4]\\d|1?\\d?\\d)";
    private static final Pattern IPV4 = Pattern.compile("(" + OCTET + "\\.){3}" + OCTET);

    private final AddressFinder finder;
    private final Lookups lookups;
    private final boolean internetOnly;

    /**
     * @param internetOnly whether only resolved internet addresses can be connected to
     */
    Addresses(AddressFinder finder, boolean internetOnly) {
        this.finder = finder;
        this.lookups = isDefault() ? Lookups.SHARED : Lookups.ofUser();
        this.internetOnly = internetOnly;
    }

    /**
     * The addresses of the host that a request is sent to, in the order in which to try them.
     * Looked up on the caller's thread, or, with a deadline, on another one, for which the caller
     * waits no longer than that, unless there is nothing to look up.
     */
    SocketAddress[] of(URI endpoint, RequestConfig config) throws Throwable {
        boolean here = config.deadline < 0 || isDefault() && isLiteral(endpoint);
        SocketAddress[] found = here ? find(endpoint) : findUntil(endpoint, config);
        if (internetOnly) {
            for (SocketAddress address : found) {
                checkConnectable(address);
            }
        }
        return found;
    }

    private boolean isDefault() {
        return finder == AddressFinder.DEFAULT;
    }

    private static boolean isLiteral(URI endpoint) {
        String host = Authority.of(endpoint).host;
        return host.startsWith("[") || IPV4.matcher(host).matches();
    }

    // A factory's channels may support names and other families: SOCKS, Tor.
    private static void checkConnectable(SocketAddress address) {
        IllegalArgumentException refused;
        if (!(address instanceof InetSocketAddress)) {
            refused = new UnsupportedAddressTypeException();
        } else if (((InetSocketAddress) address).isUnresolved()) {
            refused = new UnresolvedAddressException();
        } else {
            return;
        }
        // These classes take no text.
        refused.initCause(
                new IOException(
                        "the address "
                                + address
                                + " of the :address-finder needs a :channel-factory to connect to"
                                + " it"));
        throw refused;
    }

    private SocketAddress[] find(URI endpoint) throws IOException {
        int port = Route.port(endpoint);
        if (!isDefault()) {
            return new SocketAddress[] {finder.findAddress(endpoint)};
        }
        InetAddress[] resolved = resolve(endpoint);
        SocketAddress[] addresses =
                new SocketAddress[Math.min(resolved.length, CallSpec.MAX_ADDRESSES)];
        for (int i = 0; i < addresses.length; i++) {
            addresses[i] = new InetSocketAddress(resolved[i], port);
        }
        return addresses;
    }

    private static InetAddress[] resolve(URI endpoint) throws UnknownHostException {
        String host = Authority.of(endpoint).bareHost();
        try {
            return InetAddress.getAllByName(host);
        } catch (UnknownHostException e) {
            if (endpoint.getHost() != null) {
                throw e;
            }
            // The class, without a cause, that http-kit has for all names of this kind.
            RuntimeException unknown =
                    new IllegalArgumentException(
                            "unknown host, and no name that a host should have: " + e.getMessage());
            unknown.addSuppressed(e);
            throw unknown;
        }
    }

    // A resolver that hangs may outlive the deadline; the caller must not.
    private SocketAddress[] findUntil(URI endpoint, RequestConfig config) throws Throwable {
        String host = Authority.of(endpoint).bareHost().toLowerCase(Locale.ROOT);
        FutureTask<SocketAddress[]> lookup = new FutureTask<>(() -> find(endpoint));
        lookups.start(host, lookup);
        try {
            return lookup.get(config.deadlineAt - System.nanoTime(), TimeUnit.NANOSECONDS);
        } catch (java.util.concurrent.TimeoutException e) {
            throw new TimeoutException("deadline: " + config.deadline + "ms");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            String text = "this thread was interrupted while it waited for the address of " + host;
            throw (InterruptedException) new InterruptedException(text).initCause(e);
        } catch (ExecutionException e) {
            throw e.getCause();
        } finally {
            lookups.abandon(host, lookup);
        }
    }
}
