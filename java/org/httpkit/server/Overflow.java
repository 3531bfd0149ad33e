package org.httpkit.server;

/** What becomes of a send while too many earlier bytes wait for the peer. */
public enum Overflow {
    /** The connection is cut. */
    CLOSE,
    /** The sender waits; a peer that takes nothing for a minute is cut. */
    BLOCK,
    /** The send is refused. */
    REJECT
}
