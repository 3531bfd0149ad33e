package org.httpkit.client;

import org.httpkit.DynamicBytes;

import java.util.Map;

/**
 * Decides, while a response arrives, whether to continue the request or abort it with an {@link
 * AbortException}.
 *
 * <p>Implementations may be called from several threads, for different responses, but never
 * concurrently for one response.
 */
public interface IFilter {
    /** Accepts everything; the only filter with which {@code :as :stream} is a live stream. */
    IFilter ACCEPT_ALL = new AcceptAll();

    /**
     * Called with the header block, and again if there are trailers.
     *
     * @param headers lower-case name to value, repeats joined by a newline
     * @return false to abort the request
     */
    boolean accept(Map<String, Object> headers);

    /**
     * Called after each piece of the body.
     *
     * @param partialBody all bytes received so far, as sent over the wire (before gzip or deflate
     *     is undone)
     * @return false to abort the request
     */
    boolean accept(DynamicBytes partialBody);

    /** The class of {@link IFilter#ACCEPT_ALL}. */
    class AcceptAll implements IFilter {
        @Override
        public boolean accept(Map<String, Object> headers) {
            return true;
        }

        @Override
        public boolean accept(DynamicBytes partialBody) {
            return true;
        }

        @Override
        public String toString() {
            return "Response Filter: ACCEPT all response";
        }
    }

    /**
     * Accepts bodies up to a number of bytes.
     *
     * <p>The limit also applies to the decoded body; that check cannot be overridden, so that a
     * subclass cannot let in a decompression bomb.
     */
    class MaxBodyFilter implements IFilter {
        private final int length;

        /**
         * @param length the longest accepted body, in bytes
         */
        public MaxBodyFilter(int length) {
            this.length = length;
        }

        final int limit() {
            return length;
        }

        @Override
        public boolean accept(Map<String, Object> headers) {
            return true;
        }

        @Override
        public boolean accept(DynamicBytes partialBody) {
            return partialBody.length() <= length;
        }

        @Override
        public String toString() {
            return "Response Filter: ACCEPT when body's length <= " + length;
        }
    }
}
