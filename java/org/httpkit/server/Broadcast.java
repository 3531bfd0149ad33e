package org.httpkit.server;

import clojure.lang.Seqable;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;

/**
 * One send on many channels: the data is encoded once for all streams and once for all WebSockets,
 * and each kind takes one call down, in which all its channels share the bytes.
 */
public final class Broadcast {
    private final boolean close;
    private final Overflow policy;
    private final List<AsyncChannel> webSockets = new ArrayList<>();
    private final List<AsyncChannel> streams = new ArrayList<>();

    /** Those whose response has not begun, and closed ones. */
    private final List<AsyncChannel> others = new ArrayList<>();

    /**
     * Closed by this send, and not told. They are told once all channels are settled: a close
     * handler that sends to the others must neither find them open nor close them one by one.
     */
    private final List<AsyncChannel> closed = new ArrayList<>();

    /** Those for whose room the caller waits, after all others have been served. */
    private final List<AsyncChannel> full = new ArrayList<>();

    private Piece frame;
    private Piece chunk;
    private int accepted;
    private Throwable failure;

    private Broadcast(boolean close, Overflow policy) {
        this.close = close;
        this.policy = policy;
    }

    /**
     * Sends {@code data} as {@link AsyncChannel#send} does. All channels are served, even if a
     * close handler of one throws.
     *
     * @param policy in place of each channel's own: {@code CLOSE}, {@code REJECT} or null
     * @return how many accepted it
     * @throws IllegalArgumentException for data that one of the streams or WebSockets cannot send;
     *     then nothing was sent
     */
    public static int send(
            Collection<AsyncChannel> channels, Object data, boolean close, Overflow policy)
            throws IOException {
        if (policy == Overflow.BLOCK) {
            throw new IllegalArgumentException("a broadcast cannot block: CLOSE or REJECT");
        }
        Broadcast broadcast = new Broadcast(close, policy);
        for (AsyncChannel channel : channels) {
            broadcast.sort(channel);
        }
        broadcast.run(Piece.repeatable(data));
        return broadcast.accepted;
    }

    private void sort(AsyncChannel channel) {
        switch (channel.sender.phase()) {
            case WEBSOCKET:
                webSockets.add(channel);
                break;
            case STREAMING:
                streams.add(channel);
                break;
            default:
                others.add(channel);
        }
    }

    private void run(Object data) throws IOException {
        frame = webSockets.isEmpty() ? null : Piece.frame(data);
        chunk = streams.isEmpty() ? null : chunk(data);
        try {
            toAll(webSockets, frame, data);
            toAll(streams, chunk, data);
            toEach(others, data);
        } finally {
            tellClosed();
        }
        full.forEach(this::sendBlocking);
        if (failure != null) {
            Broadcast.<RuntimeException>rethrow(failure);
        }
    }

    private static Piece chunk(Object data) throws IOException {
        try {
            return Piece.chunk(data);
        } catch (RuntimeException e) {
            if (Piece.bodyOf(data) instanceof Seqable) {
                throw e; // by the user's code, perhaps
            }
            throw new IllegalArgumentException(e.getMessage(), e);
        }
    }

    private void toAll(List<AsyncChannel> channels, Piece piece, Object data) {
        if (piece == null) {
            toEach(channels, data);
            return;
        }
        long[] calls = new long[2 * channels.size()];
        for (int i = 0; i < channels.size(); i++) {
            Sender sender = channels.get(i).sender;
            calls[2 * i] = sender.handle;
            calls[2 * i + 1] = sender.sendingTerms();
        }
        Native.broadcast(calls, piece.opcode, piece.array, piece.start, piece.length);
        for (int i = 0; i < channels.size(); i++) {
            AsyncChannel channel = channels.get(i);
            int sent = (int) calls[2 * i + 1];
            if (sent == Abi.SENT_FULL && channel.sender.blocksWhenFull(policy)) {
                full.add(channel);
            } else {
                settle(channel, sent, piece);
            }
        }
    }

    private void settle(AsyncChannel channel, int sent, Piece piece) {
        try {
            settled(channel, channel.sender.settle(sent, piece, close, policy));
        } catch (Throwable thrown) {
            failed(thrown);
        }
    }

    private void toEach(List<AsyncChannel> channels, Object data) {
        for (AsyncChannel channel : channels) {
            try {
                settled(channel, channel.sender.send(data, close));
            } catch (Throwable thrown) {
                failed(thrown);
            }
        }
    }

    private void settled(AsyncChannel channel, int sent) {
        accepted += Sender.isAccepted(sent) ? 1 : 0;
        if (Sender.isClosed(sent)) {
            closed.add(channel);
        }
    }

    /** Blocks. */
    private void sendBlocking(AsyncChannel channel) {
        settle(channel, Abi.SENT_FULL, channel.sender.isUpgraded() ? frame : chunk);
        tellClosed();
    }

    private void tellClosed() {
        for (AsyncChannel channel : closed) {
            try {
                // One exception reaches the caller; those of other channels are logged.
                channel.closedBySend(failure == null);
            } catch (Throwable thrown) {
                failed(thrown);
            }
        }
        closed.clear();
    }

    /** Keeps an exception for later, so that one channel's failure does not affect the next. */
    private void failed(Throwable thrown) {
        if (failure == null) {
            failure = thrown;
        }
    }

    @SuppressWarnings("unchecked")
    private static <T extends Throwable> void rethrow(Throwable thrown) throws T {
        throw (T) thrown;
    }
}
