package org.httpkit.server;

import clojure.lang.IFn;
import java.io.IOException;
import java.net.SocketAddress;
import java.net.StandardSocketOptions;
import java.nio.channels.ServerSocketChannel;
import java.util.concurrent.ExecutorService;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

/** What {@code run-server} passes to a server, checked and with its defaults. */
public final class ServerOptions {
    public static final int BACKLOG = 1024;
    public static final int PENDING_MESSAGES = 256;
    public static final int PENDING_BYTES = 16 * 1024 * 1024;
    public static final int BODY_BUFFER_SIZE = 256 * 1024;
    public static final int MAX_HEADERS = 1000;
    public static final int KEEP_ALIVE_MILLIS = 60_000;
    public static final String SERVER_HEADER = "http-kit";

    public SocketAddress address;
    public IFn handler;
    public boolean async;
    /** Turns a Ring WebSocket response into one whose body is the channel; null without Ring's protocols. */
    public IFn upgrade;
    /** What runs instead of {@link #handler}; or null. */
    IHandler embedded;
    /** The user's own pool, or null: then the server has threads of its own. */
    public ExecutorService pool;
    /** Own threads: so many are kept once they have been needed, and one at least. */
    public int minThreads;
    public int maxThreads;
    /** Threads beyond these end when nothing has come for them for so long. */
    public int keepAliveMillis = KEEP_ALIVE_MILLIS;
    public int queueSize = Integer.MAX_VALUE;
    public String threadPrefix;
    /** Work that the server's own threads cannot take at once goes to virtual threads. */
    public boolean virtual;
    public int ioThreads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);
    public int backlog = BACKLOG;
    public int maxLine;
    public int maxBody;
    public int maxMessage;
    /** Header lines and trailers of a request; 0 for no limit. */
    public int maxHeaders = MAX_HEADERS;
    public int pendingMessages = PENDING_MESSAGES;
    /** Bytes that may wait for a channel's peer before {@link #overflow} applies. */
    public int pendingBytes = PENDING_BYTES;
    public Overflow overflow = Overflow.CLOSE;
    /** Bytes of a body of unknown length that are kept before it is streamed. */
    public int bodyBufferSize = BODY_BUFFER_SIZE;
    /** (fn [body]) and (fn [body response output-stream]) of Ring's StreamableResponseBody, or null. */
    public IFn streamable;
    public IFn writeStreamable;
    public ProxyProtocolOption proxy;
    public String serverHeader;
    public boolean trustForwarded;
    public boolean legacyContentLength;
    /** Whether the message of what a handler throws is the body of the 500. */
    public boolean errorMessages = true;
    public ContextLogger<String, Throwable> errorLogger;
    public ContextLogger<String, Throwable> warnLogger;
    public EventLogger<String> eventLogger;
    public EventNames eventNames;
    /** Bytes of the kernel's receive buffer of accepted connections; 0 for its default. */
    public int receiveBuffer;
    /** SO_REUSEPORT. */
    public boolean reusePort;

    int keptThreads() {
        return Math.max(1, minThreads);
    }

    /** Takes over what was set on a channel that a user made. */
    public void copyFrom(ServerSocketChannel channel) throws IOException {
        if (!channel.supportedOptions().contains(StandardSocketOptions.SO_REUSEPORT)) {
            return;
        }
        reusePort = channel.getOption(StandardSocketOptions.SO_REUSEPORT);
        try (ServerSocketChannel plain = ServerSocketChannel.open()) {
            int given = channel.getOption(StandardSocketOptions.SO_RCVBUF);
            if (given != plain.getOption(StandardSocketOptions.SO_RCVBUF)) {
                receiveBuffer = given;
            }
        }
    }
}
