package org.httpkit.client;

import java.util.concurrent.Callable;
import java.util.concurrent.FutureTask;

/**
 * A response that has arrived, and is converted by the first thread that asks for it. Not API, and
 * not a type of Clojure, for the reason that {@link Ending} has.
 */
public final class UnreadResponse extends FutureTask<Object> {
    public UnreadResponse(Callable<Object> convert) {
        super(convert);
    }
}
