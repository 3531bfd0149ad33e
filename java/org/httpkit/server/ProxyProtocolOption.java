package org.httpkit.server;

/** Whether a connection starts with a PROXY protocol header: never, always, or as it comes. */
public enum ProxyProtocolOption {
    DISABLED,
    ENABLED,
    OPTIONAL
}
