package org.httpkit.client;

/** A request that was submitted: running it cancels the request, unless that is over. */
public interface Submitted extends Runnable {
    /**
     * For a thread that will do nothing but wait for the response: it may run the client's loop
     * meanwhile, which spares the request two thread switches. Returns once the response is there,
     * but also earlier: after some milliseconds at most, and at once where the thread should not do
     * that, for example because it is virtual.
     */
    void lead();
}
