package org.httpkit.server;

/** What happens to a send while too many bytes are queued for the peer. */
public enum Overflow {
    /** The connection is cut. */
    CLOSE,
    /** The sender blocks; a peer that takes less than 1 KiB in {@code :write-timeout} is reset. */
    BLOCK,
    /** The send is refused. */
    REJECT
}
