package embedder;

import clojure.lang.AFn;
import clojure.lang.Keyword;
import clojure.lang.PersistentArrayMap;

import org.httpkit.HeaderMap;
import org.httpkit.HttpUtils;
import org.httpkit.server.AsyncChannel;
import org.httpkit.server.Frame;
import org.httpkit.server.HttpRequest;
import org.httpkit.server.HttpServer;
import org.httpkit.server.IHandler;
import org.httpkit.server.ProxyProtocolOption;
import org.httpkit.server.RespCallback;
import org.httpkit.server.RingHandler;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A program in plain Java that embeds two servers: one with an IHandler, one with a Ring handler.
 *
 * <p>Prints both ports, serves until its standard input ends, and prints what the IHandler was
 * called with.
 */
public final class Embedder {
    private Embedder() {}

    /** Answers by path; writes down every call but requests. */
    public static class Handler implements IHandler {
        public final Queue<String> calls = new ConcurrentLinkedQueue<>();
        private final AtomicInteger inside = new AtomicInteger();
        private volatile boolean overlapped;

        /** Whether two calls ever ran at once. */
        public boolean overlapped() {
            return overlapped;
        }

        @Override
        public void handle(HttpRequest request, RespCallback callback) {
            overlapped |= inside.incrementAndGet() > 1;
            try {
                answer(request, callback);
            } catch (IOException e) {
                throw new IllegalStateException(e);
            } finally {
                inside.decrementAndGet();
            }
        }

        private void answer(HttpRequest request, RespCallback callback) throws IOException {
            switch (request.uri) {
                case "/hello":
                    send(callback, 200, "hello " + request.queryString);
                    break;
                case "/echo":
                    InputStream body = request.getBody();
                    send(callback, 200, body == null ? null : body.readAllBytes());
                    break;
                case "/request":
                    send(
                            callback,
                            200,
                            request.method
                                    + " "
                                    + request.version
                                    + " "
                                    + request.getRemoteAddr()
                                    + " "
                                    + request.headers.get("x-name"));
                    break;
                case "/large":
                    send(callback, 200, large(Integer.parseInt(request.queryString)));
                    break;
                case "/later":
                    new Thread(() -> send(callback, 200, "later")).start();
                    break;
                case "/twice":
                    send(callback, 200, "first");
                    send(callback, 200, "second");
                    break;
                case "/throw":
                    throw new IllegalStateException("no luck");
                case "/answer-and-throw":
                    send(callback, 200, "answered");
                    throw new IllegalStateException("too late");
                case "/raw":
                    callback.run(ByteBuffer.wrap(request.getBody().readAllBytes()));
                    break;
                case "/close":
                    HeaderMap headers = new HeaderMap();
                    headers.put("Connection", "close");
                    callback.run(HttpUtils.HttpEncode(200, headers, "bye"));
                    break;
                case "/stream":
                    AsyncChannel channel = request.getChannel();
                    channel.send("one", false);
                    channel.send("two", true);
                    break;
                case "/keep":
                    request.getChannel();
                    calls.add("kept");
                    break;
                case "/websocket":
                    request.getChannel().sendHandshake(handshake(request));
                    break;
                case "/websocket-by-hand":
                    HeaderMap lines = HeaderMap.camelCase(handshake(request));
                    callback.run(HttpUtils.HttpEncode(101, lines, null));
                    break;
                default:
                    send(callback, 404, null);
            }
        }

        private static void send(RespCallback callback, int status, Object body) {
            HeaderMap headers = new HeaderMap();
            headers.put("X-By", "embedder");
            callback.run(HttpUtils.HttpEncode(status, headers, body));
        }

        private static byte[] large(int size) {
            byte[] bytes = new byte[size];
            for (int i = 0; i < size; i++) {
                bytes[i] = (byte) (i * 31);
            }
            return bytes;
        }

        private static Map<String, Object> handshake(HttpRequest request) {
            String key =
                    request.headers.get("sec-websocket-key")
                            + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
            try {
                byte[] hash =
                        MessageDigest.getInstance("SHA-1")
                                .digest(key.getBytes(StandardCharsets.US_ASCII));
                return Map.of(
                        "Upgrade", "websocket",
                        "Connection", "Upgrade",
                        "Sec-WebSocket-Accept", Base64.getEncoder().encodeToString(hash));
            } catch (java.security.GeneralSecurityException e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public void handle(AsyncChannel channel, Frame frame) {
            calls.add(frame.toString());
            try {
                if (frame instanceof Frame.TextFrame) {
                    text(channel, ((Frame.TextFrame) frame).getText());
                } else if (frame instanceof Frame.BinaryFrame) {
                    channel.send(frame.data, false);
                }
            } catch (IOException e) {
                throw new IllegalStateException(e);
            }
        }

        private void text(AsyncChannel channel, String text) throws IOException {
            if (text.equals("throw")) {
                throw new IllegalStateException("in a frame");
            } else if (text.equals("close")) {
                channel.serverClose(4000, "as you like");
            } else {
                channel.send("echo: " + text, false);
            }
        }

        @Override
        public void clientClose(AsyncChannel channel, int status) {
            calls.add("clientClose " + status);
        }

        @Override
        public void clientClose(AsyncChannel channel, int status, String reason) {
            calls.add("clientClose " + status + " " + reason);
        }

        @Override
        public void close(int timeout) {
            calls.add("close " + timeout);
        }
    }

    /** A Ring handler: (fn [request]). */
    private static final class Greeting extends AFn {
        @Override
        public Object invoke(Object request) {
            Object uri = ((Map<?, ?>) request).get(Keyword.intern("uri"));
            return PersistentArrayMap.createAsIfByAssoc(
                    new Object[] {
                        Keyword.intern("status"), 200L, Keyword.intern("body"), "ring " + uri
                    });
        }
    }

    public static HttpServer serve(IHandler handler) throws IOException {
        HttpServer server =
                new HttpServer(
                        "127.0.0.1",
                        0,
                        handler,
                        1 << 20,
                        8192,
                        1 << 20,
                        ProxyProtocolOption.DISABLED);
        server.start();
        return server;
    }

    public static void main(String[] args) throws IOException {
        Handler handler = new Handler();
        HttpServer plain = serve(handler);
        HttpServer ring =
                serve(new RingHandler(2, new Greeting(), false, "ring-", 100, "embedder"));
        System.out.println(plain.getPort() + " " + ring.getPort());
        while (System.in.read() >= 0) {
            // Until it ends.
        }
        plain.stop(100);
        ring.stop(100);
        System.out.println(handler.calls);
    }
}
