package org.httpkit.server;

import clojure.lang.IFn;

import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

import java.io.IOException;
import java.net.SocketAddress;
import java.net.StandardSocketOptions;
import java.nio.channels.ServerSocketChannel;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.concurrent.ExecutorService;

/** What {@code run-server} passes to a server, checked and with its defaults. */
public final class ServerOptions {
    public static final String SERVER_HEADER = "http-kit";

    public SocketAddress address;
    public IFn handler;
    public boolean async;

    /**
     * Turns a Ring WebSocket response into one whose body is the channel; null without Ring's
     * protocols.
     */
    public IFn upgrade;

    /** What runs instead of {@link #handler}; or null. */
    IHandler embedded;

    /** The user's own pool, or null: then the server has threads of its own. */
    public ExecutorService pool;

    /** Own threads that are kept once they have been needed; at least one is. */
    public int minThreads;

    public int maxThreads;
    public String threadPrefix;

    /** Work that the server's own threads cannot take at once goes to virtual threads. */
    public boolean virtual;

    public int ioThreads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);

    /** Bytes that may wait for a channel's peer before {@link #overflow} applies. */
    public int maxPendingBytes = 16 * 1024 * 1024;

    public Overflow overflow = Overflow.CLOSE;

    /** Bytes of a body of unknown length that are kept before it is streamed. */
    public int bodyBufferSize = 256 * 1024;

    /**
     * (fn [body]) and (fn [body response output-stream]) of Ring's StreamableResponseBody, or null.
     */
    public IFn streamable;

    public IFn writeStreamable;
    public String serverHeader = SERVER_HEADER;
    public boolean trustForwarded;
    public boolean legacyContentLength;

    /** Whether the message of what a handler throws is the body of the 500. */
    public boolean errorMessages = true;

    public ContextLogger<String, Throwable> errorLogger;
    public ContextLogger<String, Throwable> warnLogger;
    public EventLogger<String> eventLogger;
    public EventNames eventNames;

    /** Numbers that only the core knows the meaning of, by name. */
    private final Map<String, Long> numbers = new LinkedHashMap<>();

    /**
     * Sets an option of the core, see {@code rust/core/src/server/config.rs}; those that are not
     * set have their defaults. The server that is made with a name that is none fails, and says so.
     */
    public void set(String name, long value) {
        numbers.put(name, value);
    }

    String[] names() {
        return numbers.keySet().toArray(new String[0]);
    }

    long[] values() {
        return numbers.values().stream().mapToLong(Long::longValue).toArray();
    }

    int keptThreads() {
        return Math.max(1, minThreads);
    }

    /** Takes over what was set on a channel that a user made. */
    public void copyFrom(ServerSocketChannel channel) throws IOException {
        if (!channel.supportedOptions().contains(StandardSocketOptions.SO_REUSEPORT)) {
            return;
        }
        set("reuse-port", channel.getOption(StandardSocketOptions.SO_REUSEPORT) ? 1 : 0);
        try (ServerSocketChannel plain = ServerSocketChannel.open()) {
            int given = channel.getOption(StandardSocketOptions.SO_RCVBUF);
            if (given != plain.getOption(StandardSocketOptions.SO_RCVBUF)) {
                set("receive-buffer", given);
            }
        }
    }
}
