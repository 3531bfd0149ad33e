package org.httpkit.server;

import org.httpkit.jni.Abi;

/** Whether a connection starts with a PROXY protocol header: never, always, or as it comes. */
public enum ProxyProtocolOption {
    DISABLED(Abi.PROXY_DISABLE),
    ENABLED(Abi.PROXY_ENABLE),
    OPTIONAL(Abi.PROXY_OPTIONAL);

    /** The value of the core's option. */
    final int mode;

    ProxyProtocolOption(int mode) {
        this.mode = mode;
    }
}
