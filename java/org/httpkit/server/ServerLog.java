package org.httpkit.server;

import org.httpkit.logger.EventNames;

/** The user's loggers for a server. Nothing here throws. */
final class ServerLog {
    static final String WORKER = "worker";
    static final String CLOSE_HANDLER = "on close handler";
    static final String BODY_CALLBACK = "body callback";
    static final String FRAME = "handle websocket frame ";

    /** For channels without a connection. */
    static final ServerLog NO_SERVER = new ServerLog(new ServerOptions());

    final EventNames events;

    private final ServerOptions options;

    /** Built once, not for each request. */
    private final String status200;

    private final LogLimit brokenFrames;

    ServerLog(ServerOptions options) {
        this.options = options;
        this.events = options.eventNames;
        this.brokenFrames = new LogLimit(null, "WebSocket protocol error", options.warnLogger);
        this.status200 = events.serverStatusPrefix + 200;
    }

    void error(String message, Throwable error) {
        Loggers.log(options.errorLogger, message, error);
    }

    /** Either may be null. */
    void warning(String message, Throwable error) {
        Loggers.log(options.warnLogger, message, error);
    }

    void brokenFrame(WebSocketException error) {
        brokenFrames.log(error);
    }

    /** Logs how many of those were left out. Never blocks. */
    void tellOmitted() {
        brokenFrames.tellOmitted();
    }

    void event(String name) {
        Loggers.event(options.eventLogger, name);
    }

    /** Counts a response with this status. */
    void status(int code) {
        event(code == 200 ? status200 : events.serverStatusPrefix + code);
    }
}
