import org.httpkit.HeaderMap;
import org.httpkit.HttpUtils;
import org.httpkit.server.AsyncChannel;
import org.httpkit.server.Frame;
import org.httpkit.server.HttpRequest;
import org.httpkit.server.HttpServer;
import org.httpkit.server.IHandler;
import org.httpkit.server.ProxyProtocolOption;
import org.httpkit.server.RespCallback;

import java.nio.charset.StandardCharsets;
import java.util.Map;

/** A server in a Java program: {@code java -cp http-kit.jar:clojure.jar Embedder.java 8090}. */
public final class Embedder implements IHandler {
    @Override
    public void handle(HttpRequest request, RespCallback callback) {
        HeaderMap headers =
                HeaderMap.camelCase(Map.of("content-type", "text/plain; charset=utf-8"));
        byte[] body = ("Hello, " + request.uri.substring(1) + "!").getBytes(StandardCharsets.UTF_8);
        callback.run(HttpUtils.HttpEncode(200, headers, body));
    }

    /** Messages of WebSockets; this program opens none. */
    @Override
    public void handle(AsyncChannel channel, Frame frame) {}

    @Override
    public void clientClose(AsyncChannel channel, int status) {}

    @Override
    public void close(int timeoutMs) {}

    /** Starts a server on a port (0: any free one), which {@link HttpServer#getPort} tells. */
    public static HttpServer start(int port) throws Exception {
        int maxBody = 8 << 20, maxLine = 8192, maxMessage = 4 << 20;
        HttpServer server =
                new HttpServer(
                        "0.0.0.0",
                        port,
                        new Embedder(),
                        maxBody,
                        maxLine,
                        maxMessage,
                        ProxyProtocolOption.DISABLED);
        server.start();
        return server;
    }

    public static void main(String[] arguments) throws Exception {
        start(arguments.length == 0 ? 8090 : Integer.parseInt(arguments[0]));
    }
}
