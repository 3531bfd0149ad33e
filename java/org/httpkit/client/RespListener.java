package org.httpkit.client;

import java.nio.charset.Charset;
import java.util.Collections;
import java.util.HashSet;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ExecutorService;
import org.httpkit.BytesInputStream;
import org.httpkit.DynamicBytes;
import org.httpkit.HttpStatus;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;
import org.httpkit.jni.Native;
import org.httpkit.jni.NativeLibrary;

/**
 * Collects a response and hands it, coerced, to an {@link IResponseHandler} on a worker pool.
 *
 * <p>Where the filter allows it the core collects and decodes instead, and this class only
 * coerces: see {@link #collectedByCore}.
 *
 * <p>A pool that rejects the work gets its RejectedExecutionException delivered to the handler, on
 * the thread that noticed.
 */
public class RespListener implements IRespListener {
    static final int NONE = 0;
    static final int AUTO = 1;
    static final int TEXT = 2;
    static final int STREAM = 3;
    static final int BYTES = 4;
    static final int RAW_BYTES = 5;

    private static final int CHARSET_LOOK_AHEAD = 512;
    private static final int GZIP = 1;
    private static final int DEFLATE = 2;
    private static final byte[] EMPTY = new byte[0];
    private static final Set<String> BINARY_XML = binaryXml();

    private final IResponseHandler handler;
    private final IFilter filter;
    private final ExecutorService pool;
    private final int coercion;

    private final DynamicBytes body = new DynamicBytes(0);
    private volatile HttpStatus status;
    private volatile Map<String, Object> headers = Collections.emptyMap();

    /**
     * @param filter null accepts all
     * @param pool runs decoding and the handler
     * @param coercion 0 DynamicBytes as received, 1 String or BytesInputStream by content type,
     *     2 String, 3 live InputStream (a BytesInputStream when there is a filter), 4 byte[],
     *     5 byte[] as received
     */
    public RespListener(IResponseHandler handler, IFilter filter, ExecutorService pool, int coercion) {
        this.handler = handler;
        this.filter = filter == null ? IFilter.ACCEPT_ALL : filter;
        this.pool = pool;
        this.coercion = coercion;
    }

    private static Set<String> binaryXml() {
        Set<String> types = new HashSet<>();
        types.add("image/svg+xml");
        String openXml = "application/vnd.openxmlformats-officedocument.";
        for (String type : new String[] {"wordprocessingml.document", "wordprocessingml.template",
                "spreadsheetml.sheet", "spreadsheetml.template", "presentationml.presentation",
                "presentationml.slide", "presentationml.slideshow", "presentationml.template"}) {
            types.add(openXml + type);
        }
        for (String suffix : new String[] {"", "-template", "-web", "-master"}) {
            types.add("application/vnd.oasis.opendocument.text" + suffix);
        }
        return types;
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
    public void onInitialLineReceived(HttpVersion version, HttpStatus received) throws AbortException {
        status = received;
    }

    @Override
    public void onHeadersReceived(Map<String, Object> received) throws AbortException {
        headers = received;
        if (!filter.accept(received)) {
            throw new AbortException("Rejected when header received");
        }
    }

    @Override
    public void onBodyReceived(byte[] buf, int length) throws AbortException {
        body.append(buf, length);
        if (!filter.accept(body)) {
            throw new AbortException("Rejected when reading body, length: " + body.length());
        }
    }

    @Override
    public void onCompleted() {
        onWorker(() -> coerce(decoded()));
    }

    @Override
    public void onThrowable(Throwable t) {
        onWorker(() -> {
            throw t;
        });
    }

    /** Whether the core may keep the body until it is complete, since nobody wants to see the pieces. */
    boolean collectedByCore() {
        // A negative limit would mean none to the core; as a filter it accepts no body at all.
        return getClass() == RespListener.class
                && (filter == IFilter.ACCEPT_ALL
                        || filter.getClass() == IFilter.MaxBodyFilter.class && wireLimit() >= 0);
    }

    /** Whether the user reads the body while it arrives. */
    boolean streams() {
        return coercion == STREAM && filter == IFilter.ACCEPT_ALL && getClass() == RespListener.class;
    }

    /** Whether content codings stay as they came. */
    boolean raw() {
        return coercion == NONE || coercion == RAW_BYTES;
    }

    /** Longest body in bytes as received, -1 for no limit. */
    long wireLimit() {
        return filter instanceof IFilter.MaxBodyFilter ? ((IFilter.MaxBodyFilter) filter).limit() : -1;
    }

    /** Longest body in bytes after decoding, -1 for no limit. */
    long decodedLimit() {
        return raw() ? -1 : wireLimit();
    }

    /** The whole response, decoded by the core. */
    void complete(int code, byte[] headerBlock, byte[] decoded) {
        onWorker(() -> {
            head(code, headerBlock);
            return coerce(decoded == null ? EMPTY : decoded);
        });
    }

    /** The head, and a body that is still arriving. */
    void stream(int code, byte[] headerBlock, ResponseStream live) {
        boolean taken = onWorker(() -> {
            head(code, headerBlock);
            return live;
        });
        if (!taken) {
            live.close();
        }
    }

    private void head(int code, byte[] headerBlock) {
        status = HttpStatus.valueOf(code);
        headers = HeaderBlock.parse(headerBlock);
    }

    private boolean onWorker(Work work) {
        boolean[] begun = new boolean[1];
        try {
            pool.execute(() -> {
                begun[0] = true;
                Object coerced;
                try {
                    coerced = work.coerce();
                } catch (Throwable t) {
                    handler.onThrowable(t);
                    return;
                }
                handler.onSuccess(status.getCode(), headers, coerced);
            });
            return true;
        } catch (Throwable t) {
            if (begun[0]) {
                // A pool that runs its work at once. What the handler itself throws is nobody's answer: it has had
                // its one call.
                HttpUtils.printError("a response handler failed", t);
                return true;
            }
            handler.onThrowable(t);
            return false;
        }
    }

    private interface Work {
        Object coerce() throws Throwable;
    }

    private byte[] decoded() {
        int coding = raw() || body.length() == 0 ? 0 : coding();
        if (coding == 0) {
            return body.bytes();
        }
        NativeLibrary.load();
        return Native.decodeContent(coding, body.get(), 0, body.length(), decodedLimit());
    }

    private int coding() {
        String name = header("content-encoding");
        switch (name == null ? "" : name.toLowerCase(Locale.ROOT)) {
            case "gzip":
            case "x-gzip":
                return GZIP;
            case "deflate":
            case "x-deflate":
                return DEFLATE;
            default:
                return 0;
        }
    }

    private Object coerce(byte[] bytes) {
        switch (coercion) {
            case NONE:
                return new DynamicBytes(bytes.length).append(bytes, bytes.length);
            case AUTO:
                return isText(status.getCode(), header("content-type")) ? text(bytes) : stream(bytes);
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
        int looked = Math.min(bytes.length, CHARSET_LOOK_AHEAD);
        Charset charset = HttpUtils.detectCharset(headers, new DynamicBytes(looked).append(bytes, looked));
        return new String(bytes, charset);
    }

    /** The rule of {@code :as :auto}: all but 200 is text, a 200 is text when its type says so. */
    static boolean isText(int code, String contentType) {
        if (code != 200) {
            return true;
        }
        if (contentType == null) {
            return false;
        }
        String lower = contentType.toLowerCase(Locale.ROOT);
        int semicolon = lower.indexOf(';');
        String type = (semicolon < 0 ? lower : lower.substring(0, semicolon)).trim();
        return (type.contains("text") || type.contains("json") || type.contains("xml")) && !BINARY_XML.contains(type);
    }
}
