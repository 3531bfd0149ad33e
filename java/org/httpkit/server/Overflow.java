package org.httpkit.server;

/** What becomes of a send while too many earlier bytes wait for the peer. */
public enum Overflow {
    /** The connection is cut. */
    CLOSE,
    /** The sender waits; a peer that takes less than 1 KiB in a minute is cut. */
    BLOCK,
    /** The send is refused. */
    REJECT
}
