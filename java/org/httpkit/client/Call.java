package org.httpkit.client;

import org.httpkit.jni.Abi;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.NativeClient;

import java.net.SocketAddress;
import java.util.concurrent.CancellationException;
import java.util.concurrent.atomic.AtomicLong;

/**
 * One request in flight, from submission to its end; receives the core's events for it.
 *
 * <p>Subclasses decide how the response reaches the listener.
 */
abstract class Call extends ClientUpcalls.Call {
    private static final String STREAMED = "streamed response for a buffered call";

    private static final AtomicLong IDS = new AtomicLong();

    final HttpClient client;
    final long id = IDS.incrementAndGet();

    private TlsChoice tls;
    private SocketAddress[] addresses;
    private Upload upload;

    /** The exception of the first method that failed. */
    private Throwable fault;

    private volatile boolean cancelled;

    Call(HttpClient client) {
        this.client = client;
    }

    static Call of(HttpClient client, IRespListener listener, RequestConfig config) {
        if (listener instanceof RespListener) {
            RespListener collector = (RespListener) listener;
            if (config != null) {
                collector.expect(config.methodName(), config.maxResponseBytes);
            }
            Call call = of(client, collector);
            collector.awaits(call);
            return call;
        }
        return new ListenedCall(client, listener);
    }

    private static Call of(HttpClient client, RespListener collector) {
        if (collector.streams()) {
            return new StreamedCall(client, collector);
        }
        return collector.collectedByCore()
                ? new BufferedCall(client, collector)
                : new ListenedCall(client, collector);
    }

    /** Whether the body comes in pieces. */
    boolean streams() {
        return true;
    }

    /** Whether content codings are left unchanged. */
    boolean raw() {
        return false;
    }

    /** Most bytes of a body as received; -1 for no limit. */
    long wireLimit() {
        return -1;
    }

    /** Most bytes of a body after decoding; -1 for no limit. */
    long decodedLimit() {
        return -1;
    }

    /** Most bytes of a body that the core hands out; -1 for as many as the heap has room for. */
    long bodyLimit(RequestConfig config) {
        return config.maxResponseBytes;
    }

    /** The request failed; the last event. Called on a loop. */
    abstract void fail(Throwable t);

    /**
     * @return false if the client is stopped: no events will come
     */
    boolean start(CallSpec spec, RequestBody body, TlsChoice choice, SocketAddress[] resolved) {
        if (cancelled) {
            throw new CancellationException("request was cancelled");
        }
        tls = choice;
        addresses = resolved;
        if (body != null && body.streamed()) {
            upload = new Upload(client, id, body);
        }
        ClientUpcalls.register(id, this);
        boolean accepted = false;
        try {
            accepted =
                    NativeClient.clientCall(
                            client.handle(),
                            id,
                            spec.bytes(),
                            spec.length(),
                            body == null ? null : body.bytes(),
                            body == null ? 0 : body.offset(),
                            body == null ? 0 : body.buffered());
        } finally {
            if (!accepted) {
                ClientUpcalls.forget(id);
            }
        }
        if (cancelled) {
            cancel(); // the core may not have had the call when the first one came
        }
        return accepted;
    }

    /** The request failed before it reached the core; on the caller's thread. */
    abstract void refuse(Throwable t);

    public void cancel() {
        cancelled = true;
        NativeClient.clientCancel(client.handle(), id);
    }

    /** The core is done with the request: no events follow. */
    void finished() {
        if (upload != null) {
            upload.finish();
        }
    }

    @Override
    public void failed(int kind, String message, long transport) {
        Throwable cause = cause(kind, message, transport);
        finished();
        if (kind == Abi.FAIL_INTERNAL && cause != fault) {
            client.impossible(cause);
        }
        fail(cause);
    }

    private Throwable cause(int kind, String message, long transport) {
        Throwable own = fault;
        if (kind == Abi.FAIL_HOSTED && own == null) {
            own = client.hosted().failure(transport);
        } else if (kind == Abi.FAIL_SOURCE && upload != null) {
            own = upload.failure();
        }
        boolean connecting = kind == Abi.FAIL_CONNECT || kind == Abi.FAIL_NO_ROUTE;
        return own != null
                ? own
                : ClientUpcalls.failure(
                        kind, connecting ? ConnectFailure.text(message, addresses[0]) : message);
    }

    @Override
    public void sendCredit(int n) {
        if (upload != null) {
            upload.credit(n);
        }
    }

    @Override
    public void openTransport(long transport) {
        client.hosted().open(transport, addresses, tls.fromTheStart);
    }

    @Override
    public void startTls(ClientUpcalls.Transport transport, int level) {
        ((HostedTransport) transport).startTls(tls::engine, level);
    }

    @Override
    public void fault(Throwable t) {
        if (fault == null) {
            fault = t;
            client.impossible(t);
        }
    }

    @Override
    public void done(int status, int flags, byte[] headers, byte[] body) {
        throw new IllegalStateException("buffered response for a streamed call");
    }

    @Override
    public void head(int status, int flags, byte[] headers) {
        throw new IllegalStateException(STREAMED);
    }

    @Override
    public void body(byte[] data) {
        throw new IllegalStateException(STREAMED);
    }

    @Override
    public void end() {
        throw new IllegalStateException(STREAMED);
    }

    /** A response that the core collects and decodes: a single event. */
    private static final class BufferedCall extends Call {
        private final RespListener listener;

        BufferedCall(HttpClient client, RespListener listener) {
            super(client);
            this.listener = listener;
        }

        @Override
        boolean streams() {
            return false;
        }

        @Override
        boolean raw() {
            return listener.raw();
        }

        @Override
        long wireLimit() {
            return listener.wireLimit();
        }

        @Override
        long decodedLimit() {
            return listener.decodedLimit();
        }

        @Override
        void fail(Throwable t) {
            listener.failed(t);
        }

        @Override
        void refuse(Throwable t) {
            listener.onThrowable(t);
        }

        @Override
        public void done(int status, int flags, byte[] headers, byte[] body) {
            finished();
            listener.complete(status, headers, body);
        }
    }

    /** A response whose body the user reads as it arrives; delivered at the first body byte. */
    private static final class StreamedCall extends Call implements ResponseStream.Source {
        /** Cleared once told: it references the stream, and an abandoned stream must be noticed. */
        private RespListener listener;

        private final ResponseStream.Feed feed = new ResponseStream.Feed(this);
        private int status;
        private byte[] headers;

        StreamedCall(HttpClient client, RespListener listener) {
            super(client);
            this.listener = listener;
        }

        @Override
        public void credit(int n) {
            NativeClient.clientCredit(client.handle(), id, n);
        }

        @Override
        public boolean isOnLoop() {
            return client.isOnLoop();
        }

        @Override
        public void head(int code, int flags, byte[] block) {
            status = code;
            headers = block;
        }

        @Override
        public void body(byte[] data) {
            feed.add(data);
            deliver();
        }

        @Override
        public void end() {
            finished();
            feed.end(null);
            deliver();
        }

        @Override
        void fail(Throwable t) {
            // Even if the listener is still to be told: a pool that threw may have delivered the
            // body.
            feed.end(t);
            if (listener != null) {
                listener.failed(t);
            }
        }

        @Override
        void refuse(Throwable t) {
            listener.onThrowable(t);
        }

        private void deliver() {
            if (listener != null) {
                listener.stream(status, headers, new ResponseStream(feed));
                listener = null;
            }
        }
    }
}
