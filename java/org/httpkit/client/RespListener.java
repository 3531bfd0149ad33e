package org.httpkit.client;

import org.httpkit.Bodyless;
import org.httpkit.BytesInputStream;
import org.httpkit.ContentTooLargeException;
import org.httpkit.DynamicBytes;
import org.httpkit.HttpStatus;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Abi;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.NativeClient;
import org.httpkit.jni.NativeLibrary;

import java.util.Collections;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.atomic.AtomicBoolean;

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

    /** How often a loop retries a pool that has no memory. */
    private static final int MOST_ATTEMPTS = 12;

    private static final byte[] EMPTY = new byte[0];

    private final IResponseHandler handler;
    private final IFilter filter;
    private final ExecutorService pool;
    private final int coercion;

    private final Delivery delivery = new Delivery();
    private int attempts;
    private long maxBytes = -1;
    private boolean headRequest;

    /** Null outside of a client. */
    private HeapShare share;

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
        this.handler = handler;
        this.filter = filter == null ? IFilter.ACCEPT_ALL : filter;
        this.pool = pool;
        this.coercion = coercion;
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
        delivery.work = this::collected;
        deliver();
    }

    @Override
    public void onThrowable(Throwable t) {
        delivery.failure = t;
        deliver();
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

    /** The whole response, decoded by the core. Called on a loop, see {@link #deliverFromLoop}. */
    void complete(int code, byte[] headerBlock, byte[] decoded) {
        Work work =
                () -> {
                    head(code, headerBlock);
                    return coerce(decoded == null ? EMPTY : decoded);
                };
        if (!(handler instanceof PromptHandler)
                || !((PromptHandler) handler).onArrival(new Whole(code, work))) {
            delivery.work = work;
            deliverFromLoop();
        }
    }

    private final class Whole implements PromptHandler.Arrived {
        private final int code;
        private final Work work;

        Whole(int code, Work work) {
            this.code = code;
            this.work = work;
        }

        @Override
        public int status() {
            return code;
        }

        @Override
        public Object body() throws Throwable {
            return coerced(work);
        }

        @Override
        public Map<String, Object> headers() {
            return headers;
        }
    }

    /**
     * The head, and a body that is still arriving. Called on a loop, see {@link #deliverFromLoop}.
     */
    void stream(int code, byte[] headerBlock, ResponseStream live) {
        delivery.loop = Thread.currentThread();
        delivery.work =
                () -> {
                    head(code, headerBlock);
                    return live;
                };
        if (!deliverFromLoop()) {
            live.close();
        }
    }

    /** The request failed. Called on a loop, see {@link #deliverFromLoop}. */
    void failed(Throwable t) {
        delivery.failure = t;
        deliverFromLoop();
    }

    private void head(int code, byte[] headerBlock) {
        status = HttpStatus.valueOf(code);
        headers = HeaderBlock.parse(headerBlock);
    }

    /**
     * A string or a decoded body is made beside the bytes received, which are dropped if it cannot.
     */
    private Object coerced(Work todo) throws Throwable {
        try {
            return todo.coerce();
        } catch (OutOfMemoryError e) {
            delivery.work = null;
            body = null;
            throw HeapShare.full(e);
        }
    }

    private Object collected() {
        return coerce(decoded());
    }

    private boolean deliver() {
        try {
            pool.execute(delivery);
            return true;
        } catch (Throwable t) {
            return !delivery.refused(t);
        }
    }

    /**
     * As {@link #deliver}, but does not give up when the pool has no memory or thread: the handler
     * is user code and should not run on a loop. The exception thrown then makes the core retry
     * later.
     *
     * @return false if the handler has been told of another failure
     */
    private boolean deliverFromLoop() {
        try {
            pool.execute(delivery);
            return true;
        } catch (VirtualMachineError e) {
            if (++attempts < MOST_ATTEMPTS && !delivery.get()) {
                throw e;
            }
            return !delivery.refused(e);
        } catch (Throwable t) {
            return !delivery.refused(t);
        }
    }

    /**
     * The single call of the handler; true once that has begun. A pool may accept it and still
     * throw, or run it immediately.
     *
     * <p>Created with the listener, since there may be no memory for it when it is needed.
     */
    private final class Delivery extends AtomicBoolean implements Runnable {
        private static final long serialVersionUID = 1;

        private transient Work work;
        private transient Throwable failure;

        /** Receives the body that the handler reads; null if it is here. */
        private transient Thread loop;

        @Override
        public void run() {
            if (compareAndSet(false, true)) {
                if (failure == null && Thread.currentThread() == loop) {
                    tellElsewhere();
                } else {
                    tellNow();
                }
            }
        }

        /** The pool runs this on the loop, which could not receive what the handler waits for. */
        private void tellElsewhere() {
            try {
                BackgroundThreads.execute(this::tellNow);
            } catch (Throwable noThread) {
                tellNow();
            }
        }

        private void tellNow() {
            try {
                tell();
            } catch (Throwable t) {
                // Thrown by the handler itself, which has had its call.
                HttpUtils.printError("a response handler failed", t);
            }
        }

        private void tell() {
            Throwable why = failure;
            Object coerced = null;
            if (why == null) {
                try {
                    coerced = coerced(work);
                } catch (Throwable t) {
                    why = t;
                }
            }
            if (why == null) {
                handler.onSuccess(status.getCode(), headers, coerced);
            } else {
                handler.onThrowable(why);
            }
        }

        /** For the exception of a pool that refuses it. */
        @Override
        public String toString() {
            return "the response of " + handler;
        }

        /**
         * @return whether the handler had to be told, on this thread
         */
        boolean refused(Throwable why) {
            if (get()) {
                return false;
            }
            failure = why;
            run();
            return true;
        }
    }

    private interface Work {
        Object coerce() throws Throwable;
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
