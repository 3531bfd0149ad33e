package org.httpkit.client;

import clojure.lang.IFn;
import clojure.lang.IPersistentMap;

import java.util.concurrent.atomic.AtomicInteger;

/**
 * What the end of a call needs. Not API.
 *
 * <p>Not a type of Clojure: reloading its namespace would make a new class, and calls that are
 * under way would have the old one, and no end.
 */
public final class Ending {
    public final Object promise;
    public final Object opts;
    public final IFn callback;
    public final HttpClient client;

    /** 0 before the end, 1 from then on, 2 once the callback is called. */
    public final AtomicInteger stage;

    /** The response if there is no memory for another one. */
    public final IPersistentMap lastResort;

    public Ending(
            Object promise,
            Object opts,
            IFn callback,
            HttpClient client,
            AtomicInteger stage,
            IPersistentMap lastResort) {
        this.promise = promise;
        this.opts = opts;
        this.callback = callback;
        this.client = client;
        this.stage = stage;
        this.lastResort = lastResort;
    }
}
