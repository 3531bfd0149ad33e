package surface;

import clojure.lang.AFn;
import clojure.lang.IFn;

import org.httpkit.BytesInputStream;
import org.httpkit.DynamicBytes;
import org.httpkit.HeaderMap;
import org.httpkit.HttpMethod;
import org.httpkit.HttpUtils;
import org.httpkit.HttpVersion;
import org.httpkit.ProtocolException;
import org.httpkit.client.HttpClient;
import org.httpkit.client.IFilter;
import org.httpkit.client.IResponseHandler;
import org.httpkit.client.RespListener;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;
import org.httpkit.server.Frame;
import org.httpkit.server.HttpRequest;
import org.httpkit.server.HttpServer;
import org.httpkit.server.ProxyProtocolOption;
import org.httpkit.server.RingHandler;
import org.httpkit.server.WSDecoder;
import org.httpkit.timer.TimerService;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Calls what programs outside name, with the types and checked exceptions of http-kit 2.9: a catch
 * of an exception that a method does not declare would not compile.
 */
public final class Surface {
    private Surface() {}

    private static final ContextLogger<String, Throwable> QUIET = (message, error) -> {};
    private static final EventLogger<String> NO_EVENTS = event -> {};

    /** A server of each constructor; none is started. */
    public static HttpServer[] servers(
            IFn ring,
            ContextLogger<String, Throwable> errors,
            ContextLogger<String, Throwable> warnings,
            EventLogger<String> events)
            throws IOException {
        HttpServer.AddressFinder finder = () -> new InetSocketAddress("127.0.0.1", 0);
        HttpServer.ServerChannelFactory factory = address -> ServerSocketChannel.open();
        EventNames names = EventNames.DEFAULT;
        return new HttpServer[] {
            new HttpServer(
                    "127.0.0.1",
                    0,
                    handlers(ring)[0],
                    1000,
                    8192,
                    1000,
                    ProxyProtocolOption.DISABLED),
            new HttpServer(
                    "127.0.0.1",
                    0,
                    handlers(ring)[1],
                    1000,
                    8192,
                    1000,
                    ProxyProtocolOption.DISABLED,
                    "seven",
                    true,
                    errors,
                    warnings,
                    events,
                    names),
            new HttpServer(
                    finder,
                    factory,
                    handlers(ring)[2],
                    1000,
                    8192,
                    1000,
                    ProxyProtocolOption.DISABLED,
                    "finder",
                    true,
                    errors,
                    warnings,
                    events,
                    names),
            new HttpServer(
                    finder,
                    factory,
                    handlers(ring)[3],
                    1000,
                    8192,
                    1000,
                    ProxyProtocolOption.DISABLED,
                    "last",
                    false,
                    errors,
                    warnings,
                    events,
                    names)
        };
    }

    /** A handler of each constructor. */
    static RingHandler[] handlers(IFn ring) {
        ExecutorService[] pools = {
            Executors.newFixedThreadPool(1), Executors.newFixedThreadPool(1)
        };
        return new RingHandler[] {
            new RingHandler(ring, false, pools[0]),
            new RingHandler(1, ring, false, "surface-", 10, "seven"),
            new RingHandler(
                    1, ring, false, "surface-", 10, "finder", QUIET, NO_EVENTS, EventNames.DEFAULT),
            new RingHandler(
                    ring, false, pools[1], QUIET, NO_EVENTS, EventNames.DEFAULT, "last", false)
        };
    }

    public static boolean start(HttpServer server) {
        try {
            return server.start();
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    /** Everything that needs no socket; name to result. */
    public static Map<String, Object> values() {
        Map<String, Object> values = new LinkedHashMap<>();
        try (BytesInputStream in = new BytesInputStream(new byte[] {1, 2, 3, 4}, 4)) {
            values.put("read", in.read());
            values.put("skip", in.skip(1));
            values.put("read into", in.read(new byte[8], 0, 8));
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        try {
            values.put(
                    "address",
                    HttpClient.AddressFinder.DEFAULT.findAddress(URI.create("http://127.0.0.1:1")));
        } catch (UnknownHostException e) {
            throw new IllegalStateException(e);
        }
        Object header = listener().getHeader("x");
        values.put("header", header);
        Runnable timer = TimerService.SERVICE;
        values.put("timer", timer == TimerService.SERVICE);
        request(values);
        utils(values);
        frames(values);
        return values;
    }

    private static RespListener listener() {
        IResponseHandler handler =
                new IResponseHandler() {
                    @Override
                    public void onSuccess(int status, Map<String, Object> headers, Object body) {}

                    @Override
                    public void onThrowable(Throwable e) {}
                };
        return new RespListener(handler, IFilter.ACCEPT_ALL, null, 0);
    }

    private static void request(Map<String, Object> values) {
        HttpRequest request = new HttpRequest(HttpMethod.POST, "/a?b", HttpVersion.HTTP_1_0);
        Map<String, Object> headers = new LinkedHashMap<>();
        headers.put("x-forwarded-for", "10.0.0.1, 10.0.0.2");
        request.setHeaders(headers);
        request.setBody(new byte[] {'a', 'b', 'c'}, 2);
        request.setStartTime(7);
        try (InputStream body = request.getBody()) {
            values.put("body", new String(body.readAllBytes(), HttpUtils.UTF_8));
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        values.put("headers", request.headers.get("x-forwarded-for"));
        values.put("remote", request.getRemoteAddr());
        values.put("protocol", request.protocol());
        values.put("start", request.getStartTime());
    }

    private static void utils(Map<String, Object> values) {
        HeaderMap map = new HeaderMap();
        map.put("Connection", "keep-alive, Upgrade");
        values.put("token", map.containsToken("Connection", "upgrade"));
        values.put("no token", map.containsToken("Connection", "grade"));
        values.put("is token", HttpUtils.isToken("X-A"));
        values.put("is no token", HttpUtils.isToken("X A"));
        values.put("charset name", HttpUtils.parseCharsetName("text/html; charset=\"nosuch\""));
        Map<String, Object> headers = new LinkedHashMap<>();
        headers.put(HttpUtils.CONTENT_TYPE, "text/plain");
        values.put("string", HttpUtils.getStringValue(headers, "content-type"));
        values.put("no string", HttpUtils.getStringValue(headers, HttpUtils.CONTENT_LENGTH));
        try {
            DynamicBytes all = HttpUtils.readAll(new ByteArrayInputStream(new byte[100000]));
            values.put("all", all.length());
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
        byte[] bytes = {HttpUtils.CR, HttpUtils.LF, HttpUtils.SP, HttpUtils.COLON};
        values.put("ascii", new String(bytes, HttpUtils.ASCII));
    }

    private static void frames(Map<String, Object> values) {
        WSDecoder decoder = new WSDecoder(10);
        ByteBuffer hi =
                ByteBuffer.wrap(new byte[] {(byte) 0x81, (byte) 0x82, 0, 0, 0, 0, 'h', 'i'});
        try {
            Frame frame = decoder.decode(hi);
            values.put("frame", ((Frame.TextFrame) frame).getText());
        } catch (ProtocolException e) {
            throw new IllegalStateException(e);
        }
        short[] codes = {
            Frame.CloseFrame.CLOSE_NORMAL,
            Frame.CloseFrame.CLOSE_AWAY,
            Frame.CloseFrame.CLOSE_MESG_BIG
        };
        values.put("codes", codes[0] + " " + codes[1] + " " + codes[2]);
        values.put("away", Frame.CloseFrame.AWAY.getStatus());
    }

    /** A Ring handler that answers nil. */
    public static final class Nothing extends AFn {
        @Override
        public Object invoke(Object request) {
            return null;
        }
    }
}
