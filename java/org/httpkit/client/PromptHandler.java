package org.httpkit.client;

import java.util.Map;

/**
 * A handler that takes a response or a failure on the loop, without a thread of the worker pool: it
 * keeps the response, and the thread that asks for it does the rest.
 */
public interface PromptHandler extends IResponseHandler {
    /** A response that has arrived, whole or with a body that the user reads as it arrives. */
    interface Arrived {
        int status();

        /**
         * The body as the request wants it. Call it once, on a thread that may block.
         *
         * @throws Throwable if the body cannot be converted
         */
        Object body() throws Throwable;

        /** Available once {@link #body} has returned. */
        Map<String, Object> headers();
    }

    /**
     * Called on a loop: must not block, nor run user code.
     *
     * @return false to have the response delivered on the worker pool
     */
    boolean onArrival(Arrived response);

    /**
     * Called on a loop, or on the thread that made the request: must not block, nor run user code.
     *
     * @return false to have the failure delivered on the worker pool
     */
    boolean onFailure(Throwable why);
}
