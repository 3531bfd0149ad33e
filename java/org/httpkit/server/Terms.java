package org.httpkit.server;

import org.httpkit.jni.Abi;

/** How a request constrains its response. */
final class Terms {
    /** Without a request. */
    static final Terms NONE = new Terms(null, null, false, false, false, false);

    final boolean head;
    final boolean endsConnection;

    /** A response to HEAD keeps the handler's own Content-Length. */
    final boolean keepLength;

    final boolean http10;

    /** The server's; null for none. */
    final Compression compression;

    /** Until {@link #accepted} is known, which few responses need. */
    private RequestBlock block;

    private AcceptEncoding accepted = AcceptEncoding.UNSAID;

    private Terms(
            RequestBlock block,
            Compression compression,
            boolean head,
            boolean endsConnection,
            boolean keepLength,
            boolean http10) {
        this.block = block;
        this.compression = compression;
        this.http10 = http10;
        this.head = head;
        this.endsConnection = endsConnection;
        this.keepLength = keepLength;
    }

    static Terms of(RequestBlock block, ServerOptions options) {
        boolean head = block.has(Abi.REQUEST_HEAD);
        return new Terms(
                block,
                options.compression,
                head,
                block.endsConnection(),
                head && !options.legacyContentLength,
                !block.has(Abi.REQUEST_HTTP11));
    }

    /** Which codings the client accepts. The request is no longer referred to after this. */
    AcceptEncoding accepted() {
        if (block != null) {
            accepted = AcceptEncoding.of(block.acceptEncoding());
            block = null;
        }
        return accepted;
    }

    /** These terms without a reference to the request, for a channel, which may live long. */
    Terms detached() {
        accepted();
        return this;
    }
}
