package org.httpkit.server;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.util.Arrays;

/** Runs a channel's callbacks for the events that the native side reports, in order. */
final class ChannelEvents {
    /** Handle and kind. */
    static final int START = 9;

    private ChannelEvents() {}

    /** Whether the block ends with the channel's close event, before which there is no message. */
    static boolean isClosing(byte[] block) {
        int last = last(block);
        return last >= 0 && block[last] == Abi.EVENT_CLOSED;
    }

    /**
     * The code of the close event with which the block ends; 0 if the server closes the channel.
     */
    static int closeCode(byte[] block) {
        return code(block, last(block) + 5);
    }

    /** Where the last event begins; -1 if there is none. */
    private static int last(byte[] block) {
        int last = -1;
        for (int at = START; at < block.length; at += 5 + RequestBlock.readInt(block, at + 1)) {
            last = at;
        }
        return last;
    }

    /** Runs the callbacks for {@code block} and for events that arrive meanwhile. */
    static void run(HttpServer server, byte[] block) {
        long handle = RequestBlock.handle(block);
        for (byte[] next = block; next != null; next = Native.takeEvents(handle)) {
            runSome(server, next);
        }
    }

    /**
     * Runs the callbacks for {@code block} only; the caller must take the channel's next events.
     * Continues after a failing callback: no other thread gets the later events.
     */
    static void runSome(HttpServer server, byte[] block) {
        long handle = RequestBlock.handle(block);
        AsyncChannel channel = server.channels.get(handle);
        if (channel == null) {
            return;
        }
        channel.enterCallback();
        channel.runsCallbacks = true;
        for (int at = START; at < block.length; ) {
            int start = at + 5;
            int end = start + RequestBlock.readInt(block, at + 1);
            server.workers.clearLateInterrupt();
            channel.callbacks++;
            try {
                runOne(server, channel, block[at], block, start, end);
            } catch (Throwable e) {
                channel.abort();
                server.log.error(ServerLog.WORKER, e);
            }
            at = end;
        }
        channel.runsCallbacks = false;
        channel.leaveCallback(handle);
    }

    private static void runOne(
            HttpServer server, AsyncChannel channel, int kind, byte[] block, int start, int end) {
        if (server.embedded != null) {
            server.embedded.event(channel, kind, block, start, end);
            return;
        }
        switch (kind) {
            case Abi.EVENT_TEXT:
                channel.messageReceived(new String(block, start, end - start, UTF_8));
                break;
            case Abi.EVENT_BINARY:
                channel.messageReceived(Arrays.copyOfRange(block, start, end));
                break;
            case Abi.EVENT_PING:
                channel.pingReceived(Arrays.copyOfRange(block, start, end));
                break;
            case Abi.EVENT_PONG:
                channel.pongReceived(Arrays.copyOfRange(block, start, end));
                break;
            case Abi.EVENT_CLOSING:
                LateClosing.watch(server, channel, code(block, start), reason(block, start, end));
                break;
            default:
                channel.lastEvent(code(block, start), reason(block, start, end));
        }
    }

    static int code(byte[] block, int start) {
        return RequestBlock.readInt(block, start);
    }

    /** The reason, which follows the code in a close event. */
    static String reason(byte[] block, int start, int end) {
        return new String(block, start + 4, end - start - 4, UTF_8);
    }
}
