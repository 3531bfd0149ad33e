package org.httpkit.server;

import org.httpkit.HttpMethod;
import org.httpkit.HttpUtils;
import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

import java.io.IOException;
import java.nio.channels.ServerSocketChannel;
import java.util.Arrays;

/** Turns a server's work into calls to an {@link IHandler}. */
final class Embedded {
    private final HttpServer server;
    private final IHandler handler;

    Embedded(HttpServer server, IHandler handler) {
        this.server = server;
        this.handler = handler;
    }

    /** Options from the arguments of {@link HttpServer}'s long constructors. */
    static ServerOptions options(
            HttpServer.AddressFinder addressFinder,
            HttpServer.ServerChannelFactory channelFactory,
            IHandler handler,
            int maxBody,
            int maxLine,
            int maxWs,
            ProxyProtocolOption proxyProtocolOption,
            String serverHeader,
            boolean legacyContentLength,
            ContextLogger<String, Throwable> errorLogger,
            ContextLogger<String, Throwable> warnLogger,
            EventLogger<String> eventLogger,
            EventNames eventNames)
            throws IOException {
        ServerOptions options = new ServerOptions();
        options.set("max-body", maxBody);
        options.set("max-line", maxLine);
        options.set("max-ws", maxWs);
        options.set("proxy-protocol", proxyProtocolOption.mode);
        options.serverHeader = serverHeader;
        options.trustForwarded = true;
        options.legacyContentLength = legacyContentLength;
        options.errorLogger = errorLogger;
        options.warnLogger = warnLogger;
        options.eventLogger = eventLogger;
        options.eventNames = eventNames;
        if (!RingHandler.adopt(handler, options)) {
            options.embedded = handler;
        }
        options.address = addressFinder.findAddress();
        if (channelFactory != null) {
            try (ServerSocketChannel channel = channelFactory.createChannel(options.address)) {
                options.copyFrom(channel);
            }
        }
        return options;
    }

    void request(RequestBlock block) {
        AsyncChannel channel = server.channels.make(block);
        HttpMethod method = methodOf(block);
        if (method == null) {
            // HttpMethod has no constant for it.
            String message = "unsupported method " + block.methodName();
            respond(block, channel.handlerFailed(), 400, message);
            return;
        }
        HttpRequest request = new HttpRequest(server, block, method, channel);
        try {
            handler.handle(request, request.callback);
            if (request.isChannelWanted()) {
                request.channel().handlerReturned(false);
            } else {
                request.channel().leaveCallback();
            }
        } catch (Throwable e) {
            failed(block, request.channel(), e);
        }
    }

    private static HttpMethod methodOf(RequestBlock block) {
        for (HttpMethod method : HttpMethod.values()) {
            if (method.KEY == block.method()) {
                return method;
            }
        }
        return null;
    }

    private void failed(RequestBlock block, AsyncChannel channel, Throwable e) {
        server.log.error(block.methodName() + " " + block.uri(), e);
        if (respond(block, channel.handlerFailed(), 500, HttpUtils.messageOf(e))) {
            server.log.event(server.log.events.serverStatus500);
        }
    }

    private boolean respond(RequestBlock block, boolean send, int status, String text) {
        if (send) {
            ResponseWriter out = server.writers.borrow();
            out.plain(status, text, true);
            Responses.send(block.handle(), out);
            server.writers.giveBack(out);
        }
        return send;
    }

    /**
     * @return events that arrived meanwhile, to run after other queued work; null if there are none
     */
    byte[] events(byte[] block) {
        ChannelEvents.runSome(server, block);
        return Native.takeEvents(RequestBlock.handle(block));
    }

    void event(AsyncChannel channel, int kind, byte[] block, int start, int end) {
        switch (kind) {
            case Abi.EVENT_TEXT:
                frame(channel, new Frame.TextFrame(Arrays.copyOfRange(block, start, end)));
                break;
            case Abi.EVENT_BINARY:
                frame(channel, new Frame.BinaryFrame(Arrays.copyOfRange(block, start, end)));
                break;
            case Abi.EVENT_PING:
                frame(channel, new Frame.PingFrame(Arrays.copyOfRange(block, start, end)));
                break;
            case Abi.EVENT_PONG:
                frame(channel, new Frame.PongFrame(Arrays.copyOfRange(block, start, end)));
                break;
            case Abi.EVENT_HALF_CLOSED:
                // As with http-kit, where that is the end; here a response is still sent if it
                // comes soon.
                tellClosed(channel, CloseCodes.CLIENT_CLOSE, "");
                break;
            case Abi.EVENT_CLOSING:
                break; // one thread makes all calls, and no other may be told of it
            default:
                closed(
                        channel,
                        ChannelEvents.code(block, start),
                        ChannelEvents.reason(block, start, end));
        }
    }

    private void frame(AsyncChannel channel, Frame frame) {
        try {
            handler.handle(channel, frame);
        } catch (Throwable e) {
            server.log.error(ServerLog.FRAME + frame, e);
            server.log.event(server.log.events.serverWsFrameError);
        }
    }

    private void closed(AsyncChannel channel, int code, String reason) {
        if (channel.embedderLastEvent()) {
            tellClosed(channel, code, reason);
        }
    }

    private void tellClosed(AsyncChannel channel, int code, String reason) {
        if (!channel.claimEmbedderTold()) {
            return;
        }
        try {
            handler.clientClose(channel, code, reason);
        } catch (Throwable e) {
            server.log.error(ServerLog.CLOSE_HANDLER, e);
            server.log.event(server.log.events.serverChannelCloseError);
        }
    }
}
