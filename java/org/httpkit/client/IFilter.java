package org.httpkit.client;

import org.httpkit.DynamicBytes;

import java.util.Map;

/**
 * Decides, while a response arrives, whether the request goes on or is aborted with an {@link
 * AbortException}.
 *
 * <p>Implementations may be called from several threads, for different responses, but never
 * concurrently for one response.
 */
public interface IFilter {
    /** Accepts everything; the only filter that lets {@code :as :stream} be a live stream. */
    IFilter ACCEPT_ALL = new AcceptAll();

    /**
     * Called with each header block, again when trailers came.
     *
     * @param headers lower-case name to value, repeats joined by a newline
     * @return false to abort the request
     */
    boolean accept(Map<String, Object> headers);

    /**
     * Called after each piece of the body.
     *
     * @param partialBody all bytes received so far, as they came over the wire (before gzip or
     *     deflate is undone)
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
     * <p>The limit also holds for the decoded body; that check is not overridable, so that a
     * subclass cannot open the door to a decompression bomb.
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
