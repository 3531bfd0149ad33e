package org.httpkit.client;

import org.httpkit.Bodyless;
import org.httpkit.BytesInputStream;
import org.httpkit.ContentTooLargeException;
import org.httpkit.DynamicBytes;
import org.httpkit.HttpStatus;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Abi;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.NativeClient;
import org.httpkit.jni.NativeLibrary;

import java.util.Collections;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutorService;

/**
 * Collects a response and hands it, coerced, to an {@link IResponseHandler} on a worker pool.
 *
 * <p>Where the filter allows it the core collects and decodes instead, and this class only coerces:
 * see {@link #collectedByCore}.
 *
 * <p>If the pool rejects the work, the handler gets the RejectedExecutionException, on the thread
 * that noticed.
 */
public class RespListener implements IRespListener {
    /** DynamicBytes as received. */
    public static final int NONE = 0;

    /** String or BytesInputStream, by content type. */
    public static final int AUTO = 1;

    /** String. */
    public static final int TEXT = 2;

    /** Live InputStream; a BytesInputStream when there is a filter. */
    public static final int STREAM = 3;

    /** byte[]. */
    public static final int BYTES = 4;

    /** byte[] as received. */
    public static final int RAW_BYTES = 5;

    private static final byte[] EMPTY = new byte[0];

    private final IFilter filter;
    private final int coercion;
    private final Delivery delivery;
    private long maxBytes = -1;
    private boolean headRequest;

    /** Null outside of a client. */
    private HeapShare share;

    /** Null before a client has been given this. */
    private volatile Call call;

    private volatile boolean cancelled;

    private DynamicBytes body = new DynamicBytes(0);
    private volatile HttpStatus status;
    private volatile Map<String, Object> headers = Collections.emptyMap();

    /**
     * @param filter null accepts all
     * @param pool runs decoding and the handler
     * @param coercion {@link #NONE} to {@link #RAW_BYTES}
     */
    public RespListener(
            IResponseHandler handler, IFilter filter, ExecutorService pool, int coercion) {
        this.filter = filter == null ? IFilter.ACCEPT_ALL : filter;
        this.coercion = coercion;
        this.delivery = new Delivery(handler, pool);
    }

    /**
     * Cancels the request that {@link HttpClient#exec} was given this for, unless it is over, or
     * will be given it for: the handler gets a CancellationException.
     */
    public void cancel() {
        cancelled = true;
        Call begun = call;
        if (begun != null) {
            begun.cancel();
        }
    }

    /** The status received so far; null before the status line. */
    public HttpStatus getStatus() {
        return status;
    }

    /** A header received so far, by lower-case name; null when absent. */
    public Object getHeader(String name) {
        return headers.get(name.toLowerCase(Locale.ROOT));
    }

    private String header(String name) {
        return (String) headers.get(name);
    }

    @Override
    public void onInitialLineReceived(HttpVersion version, HttpStatus received)
            throws AbortException {
        status = received;
    }

    @Override
    public void onHeadersReceived(Map<String, Object> received) throws AbortException {
        headers = received;
        if (!filter.accept(received)) {
            throw new AbortException("Rejected when header received");
        }
        if (maxBytes >= 0) {
            checkLimit(announced());
        }
    }

    /** The length of a body that is not to be decoded, if the header says it; else 0. */
    private long announced() {
        String length = header("content-length");
        boolean none = headRequest || status != null && Bodyless.is(status.getCode());
        return none || length == null || coding() != 0 || !length.matches("[0-9]{1,18}")
                ? 0
                : Long.parseLong(length);
    }

    private void checkLimit(long length) {
        if (length > maxBytes) {
            throw new ContentTooLargeException(
                    "Response body is longer than max-response-bytes: " + maxBytes);
        }
    }

    @Override
    public void onBodyReceived(byte[] buf, int length) throws AbortException {
        // How much a coded body decodes to is checked then; until then, its own bytes take room.
        boolean limited = maxBytes >= 0 && coding() == 0;
        if (limited) {
            checkLimit(body.length() + (long) length);
        }
        if (limited || share == null) {
            body.append(buf, length);
        } else {
            share.append(body, buf, length);
        }
        if (!filter.accept(body)) {
            throw new AbortException("Rejected when reading body, length: " + body.length());
        }
    }

    @Override
    public void onCompleted() {
        delivery.succeed(
                new Received() {
                    @Override
                    Object content() {
                        return coerce(decoded());
                    }
                });
    }

    @Override
    public void onThrowable(Throwable t) {
        delivery.fail(t);
    }

    /**
     * Whether the core may keep the body until it is complete, because no filter or consumer needs
     * the pieces.
     */
    boolean collectedByCore() {
        // To the core a negative limit would mean none; as a filter it accepts no body at all.
        return getClass() == RespListener.class
                && (filter == IFilter.ACCEPT_ALL
                        || filter.getClass() == IFilter.MaxBodyFilter.class && wireLimit() >= 0);
    }

    /** Whether the user reads the body while it arrives. */
    boolean streams() {
        return coercion == STREAM
                && filter == IFilter.ACCEPT_ALL
                && getClass() == RespListener.class;
    }

    /**
     * What was requested, and the limit of bodies collected here; the core limits those that it
     * collects.
     */
    void expect(String method, long most) {
        headRequest = "HEAD".equals(method);
        maxBytes = most;
    }

    /** The call whose response this gets, not started yet. */
    void awaits(Call begun) {
        call = begun;
        if (cancelled) {
            begun.cancel();
        }
    }

    /** Counts what is collected here. */
    void share(HeapShare counter) {
        share = counter;
    }

    /** Whether content codings are left as received. */
    boolean raw() {
        return coercion == NONE || coercion == RAW_BYTES;
    }

    /** Longest body in bytes as received, -1 for no limit. */
    long wireLimit() {
        return filter instanceof IFilter.MaxBodyFilter
                ? ((IFilter.MaxBodyFilter) filter).limit()
                : -1;
    }

    /** Longest body in bytes after decoding, -1 for no limit. */
    long decodedLimit() {
        return raw() ? -1 : wireLimit();
    }

    /** The whole response, decoded by the core. Called on a loop, see {@link Delivery}. */
    void complete(int code, byte[] headerBlock, byte[] decoded) {
        delivery.succeedFromLoop(
                new Received() {
                    @Override
                    public int status() {
                        return code;
                    }

                    @Override
                    Object content() {
                        head(code, headerBlock);
                        return coerce(decoded == null ? EMPTY : decoded);
                    }
                });
    }

    /** The head, and a body that is still arriving. Called on a loop, see {@link Delivery}. */
    void stream(int code, byte[] headerBlock, ResponseStream live) {
        Received received =
                new Received() {
                    @Override
                    public int status() {
                        return code;
                    }

                    @Override
                    Object content() {
                        head(code, headerBlock);
                        return live;
                    }
                };
        if (!delivery.streamFromLoop(received)) {
            live.close();
        }
    }

    /** The request failed. Called on a loop, see {@link Delivery}. */
    void failed(Throwable t) {
        delivery.failFromLoop(t);
    }

    /** A response that has arrived; the thread that delivers it converts its body. */
    private abstract class Received implements PromptHandler.Arrived {
        abstract Object content();

        @Override
        public int status() {
            return status.getCode();
        }

        /**
         * A string or a decoded body is made beside the bytes received, which are dropped if it
         * cannot.
         */
        @Override
        public Object body() {
            try {
                return content();
            } catch (OutOfMemoryError e) {
                delivery.forget();
                body = null;
                throw HeapShare.full(e);
            }
        }

        @Override
        public Map<String, Object> headers() {
            return headers;
        }
    }

    private void head(int code, byte[] headerBlock) {
        status = HttpStatus.valueOf(code);
        headers = HeaderBlock.parse(headerBlock);
    }

    private byte[] decoded() {
        int coding = body.length() == 0 ? 0 : coding();
        if (coding == 0) {
            return body.bytes();
        }
        NativeLibrary.load();
        return NativeClient.decodeContent(
                coding,
                body.get(),
                0,
                body.length(),
                decodedLimit(),
                maxBytes,
                maxBytes < 0 ? ClientUpcalls.room() : -1);
    }

    /** The content coding to undo; 0 for none. */
    private int coding() {
        String name = raw() ? null : header("content-encoding");
        switch (name == null ? "" : name.toLowerCase(Locale.ROOT)) {
            case "gzip":
            case "x-gzip":
                return Abi.CODING_GZIP;
            case "deflate":
            case "x-deflate":
                return Abi.CODING_DEFLATE;
            default:
                return 0;
        }
    }

    private Object coerce(byte[] bytes) {
        switch (coercion) {
            case NONE:
                return new DynamicBytes(bytes.length).append(bytes, bytes.length);
            case AUTO:
                return TextTypes.isText(status.getCode(), header("content-type"))
                        ? text(bytes)
                        : stream(bytes);
            case TEXT:
                return text(bytes);
            case STREAM:
                return stream(bytes);
            default:
                return bytes;
        }
    }

    private static BytesInputStream stream(byte[] bytes) {
        return new BytesInputStream(bytes, bytes.length);
    }

    private String text(byte[] bytes) {
        return new String(bytes, TextTypes.charset(headers, bytes));
    }
}
