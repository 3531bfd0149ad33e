package org.httpkit.server;

import org.httpkit.jni.Abi;

/** How a request constrains its response. */
final class Terms {
    /** Without a request. */
    static final Terms NONE = new Terms(false, false, false, false);

    final boolean head;
    final boolean endsConnection;

    /** A response to HEAD keeps the handler's own Content-Length. */
    final boolean keepLength;

    final boolean http10;

    private Terms(boolean head, boolean endsConnection, boolean keepLength, boolean http10) {
        this.http10 = http10;
        this.head = head;
        this.endsConnection = endsConnection;
        this.keepLength = keepLength;
    }

    static Terms of(RequestBlock block, boolean legacyContentLength) {
        boolean head = block.has(Abi.REQUEST_HEAD);
        return new Terms(
                head,
                block.endsConnection(),
                head && !legacyContentLength,
                !block.has(Abi.REQUEST_HTTP11));
    }
}
