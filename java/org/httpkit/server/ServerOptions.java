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

/** The options that {@code run-server} passes to a server, checked and with defaults. */
public final class ServerOptions {
    public static final String SERVER_HEADER = "http-kit";

    /** Where plain HTTP is served; null: nowhere, or where one of the next two says. */
    public SocketAddress address;

    /** Path of a Unix domain socket, or null. */
    public String unixSocket;

    /** Descriptor of a socket that listens already, or -1. */
    public int listenSocket = -1;

    /** What named that socket, for errors; null if it was the descriptor. */
    public String listenSocketName;

    /** Where HTTP over TLS is served, if {@link #tls} is set. */
    public SocketAddress tlsAddress;

    /** Descriptor of a socket that listens already, instead of that address; or -1. */
    public int tlsListenSocket = -1;

    /** Null without TLS. */
    public TlsOptions tls;

    public IFn handler;
    public boolean async;

    /**
     * Turns a Ring WebSocket response into one whose body is the channel; null without Ring's
     * protocols.
     */
    public IFn upgrade;

    /** Runs instead of {@link #handler}; or null. */
    IHandler embedded;

    /** The user's own pool, or null: then the server has threads of its own. */
    public ExecutorService pool;

    /** Own threads that are kept once started; at least one is. */
    public int minThreads;

    public int maxThreads;
    public String threadPrefix;

    /** Work that the server's own threads cannot take immediately goes to virtual threads. */
    public boolean virtual;

    public int ioThreads = Math.max(1, Runtime.getRuntime().availableProcessors() / 2);

    /** Bytes queued for a channel's peer at which {@link #overflow} applies. */
    public int maxPendingBytes = 16 * 1024 * 1024;

    public Overflow overflow = Overflow.CLOSE;

    /** Bytes of a body of unknown length that are buffered before it is streamed. */
    public int bodyBufferSize = 256 * 1024;

    /**
     * (fn [body]) and (fn [body response output-stream]) of Ring's StreamableResponseBody, or null.
     */
    public IFn streamable;

    /** (fn [body]): whether the protocol goes before what else the body is, such as a map. */
    public IFn streamsItself;

    public IFn writeStreamable;
    public String serverHeader = SERVER_HEADER;
    public boolean trustForwarded;

    /** Whether the server drains when the JVM shuts down. */
    public boolean stopOnShutdown;

    /** Most msecs that this takes. */
    public int shutdownTimeout = 15_000;

    public boolean legacyContentLength;

    /** How responses are compressed, unless they say otherwise; null for not at all. */
    public Compression compression;

    /** Whether the thread of a handler that times out is interrupted. */
    public boolean interruptHandlers;

    /** Where exchanges that are over are logged; null: nowhere. */
    public AccessSink accessLog;

    /** Whether a handler's exception message is the body of the 500. */
    public boolean errorMessages = true;

    public ContextLogger<String, Throwable> errorLogger = ContextLogger.ERROR_PRINTER;
    public ContextLogger<String, Throwable> warnLogger;
    public EventLogger<String> eventLogger = EventLogger.NOP;
    public EventNames eventNames = EventNames.DEFAULT;

    /** Numeric options by name; only the core knows their meaning. */
    private final Map<String, Long> numbers = new LinkedHashMap<>();

    /**
     * Sets an option of the core, see {@code rust/core/src/server/config.rs}; others keep their
     * defaults. With an unknown name, creating the server fails and names it.
     */
    public void set(String name, long value) {
        numbers.put(name, value);
    }

    /** Whether {@link #set} was called for it. */
    boolean isSet(String name) {
        return numbers.containsKey(name);
    }

    /** Whether an option that is a limit was {@link #set}; 0 stands for none. */
    boolean limits(String name) {
        return numbers.getOrDefault(name, 0L) > 0;
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

    /** Copies the socket options of a user's channel. */
    public void copyFrom(ServerSocketChannel channel) throws IOException {
        if (!channel.supportedOptions().contains(StandardSocketOptions.SO_REUSEPORT)) {
            return;
        }
        if (channel.getOption(StandardSocketOptions.SO_REUSEPORT)) {
            set("reuse-port?", 1);
        }
        try (ServerSocketChannel plain = ServerSocketChannel.open()) {
            int given = channel.getOption(StandardSocketOptions.SO_RCVBUF);
            if (given != plain.getOption(StandardSocketOptions.SO_RCVBUF)) {
                set("receive-buffer", given);
            }
        }
    }
}
