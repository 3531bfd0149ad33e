package org.httpkit.client;

import java.security.NoSuchAlgorithmException;

import javax.net.ssl.SSLContext;

/** The JVM's default SSLContext, as it was when the first client was made. */
final class DefaultContext {
    private static final Object CAPTURED = read();

    private DefaultContext() {}

    private static Object read() {
        try {
            return SSLContext.getDefault();
        } catch (NoSuchAlgorithmException e) {
            return e;
        }
    }

    /** Reads it, unless that has been done. */
    static void capture() {}

    static SSLContext get() {
        if (CAPTURED instanceof SSLContext) {
            return (SSLContext) CAPTURED;
        }
        throw new IllegalStateException(
                "The JVM's default SSLContext is unusable", (Throwable) CAPTURED);
    }
}
