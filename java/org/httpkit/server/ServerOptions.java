package org.httpkit.server;

import clojure.lang.IFn;
import java.net.SocketAddress;
import java.util.concurrent.ExecutorService;
import org.httpkit.logger.ContextLogger;
import org.httpkit.logger.EventLogger;
import org.httpkit.logger.EventNames;

/** What {@code run-server} passes to a server, checked and with its defaults. */
public final class ServerOptions {
    public SocketAddress address;
    public IFn handler;
    public boolean async;
    /** Turns a Ring WebSocket response into one whose body is the channel; null without Ring's protocols. */
    public IFn upgrade;
    /** The user's own pool, or null: then the server has threads of its own. */
    public ExecutorService pool;
    public int minThreads;
    public int maxThreads;
    public int queueSize;
    public String threadPrefix;
    /** Work that the server's own threads cannot take at once goes to virtual threads. */
    public boolean virtual;
    public int ioThreads;
    public int backlog;
    public int maxLine;
    public int maxBody;
    public int maxMessage;
    public int pendingMessages;
    public long pendingBytes;
    public ProxyProtocolOption proxy;
    public String serverHeader;
    public boolean trustForwarded;
    public boolean legacyContentLength;
    public ContextLogger<String, Throwable> errorLogger;
    public ContextLogger<String, Throwable> warnLogger;
    public EventLogger<String> eventLogger;
    public EventNames eventNames;
}
