package org.httpkit.client;

import org.httpkit.ProtocolException;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.function.Consumer;

import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLEngineResult;
import javax.net.ssl.SSLException;

/**
 * An SSLEngine over a non-blocking channel. Used by one thread; delegated tasks run on background
 * threads, and meanwhile every method does nothing.
 */
final class TlsChannel {
    private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

    private final SSLEngine engine;
    private final SocketChannel channel;
    private final Consumer<Throwable> afterTasks;

    /** From the network, in filling order. */
    private ByteBuffer cipherIn;

    /** To the network, in draining order. */
    private ByteBuffer cipherOut;

    /** Decrypted, in draining order. */
    private ByteBuffer plainIn;

    private int wrapped;
    private boolean announced;
    private boolean handshaken;
    private boolean starved;
    private boolean moved;
    private boolean truncated;
    private volatile boolean inTasks;

    /**
     * @param afterTasks called when delegated tasks have ended, with null or their exception
     */
    TlsChannel(SSLEngine engine, SocketChannel channel, Consumer<Throwable> afterTasks) {
        this.engine = engine;
        this.channel = channel;
        this.afterTasks = afterTasks;
    }

    void begin() throws SSLException {
        engine.beginHandshake();
        int packet = engine.getSession().getPacketBufferSize();
        cipherIn = ByteBuffer.allocate(packet);
        cipherOut = ByteBuffer.allocate(packet).limit(0);
        plainIn = ByteBuffer.allocate(engine.getSession().getApplicationBufferSize()).limit(0);
    }

    /**
     * Advances the handshake, the first one or a later message, as far as the network allows.
     *
     * @return whether application bytes may flow
     */
    boolean handshake() throws IOException, ProtocolException {
        while (!inTasks && flush()) {
            switch (engine.getHandshakeStatus()) {
                case NEED_TASK:
                    runTasks();
                    return false;
                case NEED_WRAP:
                    if (!wrapHandshake()) {
                        return handshaken;
                    }
                    break;
                case NEED_UNWRAP:
                    if (plainIn.hasRemaining() || !unwrap()) {
                        return handshaken;
                    }
                    break;
                default:
                    handshaken = true;
                    return true;
            }
        }
        return handshaken && !inTasks;
    }

    /** True once, after the first handshake. */
    boolean announce() {
        boolean first = !announced;
        announced = true;
        return first;
    }

    private void runTasks() {
        inTasks = true;
        BackgroundThreads.execute(
                () -> {
                    Throwable failure = null;
                    try {
                        for (Runnable task = engine.getDelegatedTask();
                                task != null;
                                task = engine.getDelegatedTask()) {
                            task.run();
                        }
                    } catch (Throwable t) {
                        // The engine does not know of it, and would wait forever for its task.
                        failure = t;
                    }
                    inTasks = false;
                    afterTasks.accept(failure);
                });
    }

    /**
     * @return false if the engine has nothing more to send
     */
    private boolean wrapHandshake() throws IOException {
        try {
            SSLEngineResult result = wrap(NOTHING);
            return result.getStatus() != SSLEngineResult.Status.CLOSED
                    || result.bytesProduced() > 0;
        } catch (SSLException e) {
            sendAlert();
            throw e;
        }
    }

    // The engine has an alert for the peer; whether it arrives does not change the failure.
    private void sendAlert() throws IOException {
        if (engine.getHandshakeStatus() == SSLEngineResult.HandshakeStatus.NEED_WRAP) {
            cipherOut.clear();
            try {
                engine.wrap(NOTHING, cipherOut);
            } finally {
                cipherOut.flip();
            }
            channel.write(cipherOut);
        }
    }

    private SSLEngineResult wrap(ByteBuffer plain) throws SSLException {
        while (true) {
            cipherOut.clear();
            SSLEngineResult result;
            try {
                result = engine.wrap(plain, cipherOut);
            } finally {
                cipherOut.flip();
            }
            if (result.getStatus() != SSLEngineResult.Status.BUFFER_OVERFLOW) {
                return result;
            }
            cipherOut = ByteBuffer.allocate(2 * cipherOut.capacity()).limit(0);
        }
    }

    private boolean flush() throws IOException {
        if (cipherOut.hasRemaining()) {
            moved |= channel.write(cipherOut) > 0;
        }
        return !cipherOut.hasRemaining();
    }

    /**
     * Encrypts and writes as much as the network accepts.
     *
     * @return how many plain bytes were written
     */
    int write(ArrayDeque<ByteBuffer> outgoing) throws IOException {
        int left = 0;
        while (!inTasks && flush()) {
            left += wrapped;
            wrapped = 0;
            ByteBuffer first = outgoing.peek();
            if (first == null) {
                break;
            }
            SSLEngineResult result = wrap(first);
            wrapped = result.bytesConsumed();
            if (!first.hasRemaining()) {
                outgoing.remove();
            }
            if (result.getStatus() == SSLEngineResult.Status.CLOSED) {
                // The peer has sent close_notify, which ends both directions of TLS 1.2: nothing
                // more can be sent.
                outgoing.clear();
            }
        }
        return left;
    }

    /**
     * Decrypted bytes, at most {@code most}.
     *
     * @return an empty buffer if there is nothing now, null at the end
     */
    ByteBuffer read(int most) throws IOException, ProtocolException {
        while (!plainIn.hasRemaining()) {
            if (inTasks) {
                return NOTHING.duplicate();
            } else if (ended()) {
                return null;
            } else if (!unwrap()) {
                return ended() ? null : NOTHING.duplicate();
            } else if (!handshake()) {
                return NOTHING.duplicate();
            }
        }
        ByteBuffer part = plainIn.duplicate();
        part.limit(part.position() + Math.min(most, part.remaining()));
        plainIn.position(part.limit());
        return part;
    }

    private boolean ended() {
        return truncated || engine.isInboundDone();
    }

    /**
     * @return false if more bytes from the network are needed
     */
    private boolean unwrap() throws IOException, ProtocolException {
        if (plainIn.hasRemaining()) {
            return true;
        }
        if (cipherIn.position() == 0 || starved) {
            if (!fill()) {
                return false;
            }
        }
        SSLEngineResult result = decrypt();
        starved = result.getStatus() == SSLEngineResult.Status.BUFFER_UNDERFLOW;
        if (starved && !cipherIn.hasRemaining()) {
            cipherIn = ByteBuffer.allocate(2 * cipherIn.capacity()).put(cipherIn.flip());
        } else if (result.getStatus() == SSLEngineResult.Status.BUFFER_OVERFLOW) {
            plainIn = ByteBuffer.allocate(2 * plainIn.capacity()).limit(0);
        }
        if (result.getStatus() == SSLEngineResult.Status.CLOSED && result.bytesConsumed() == 0) {
            return false;
        }
        return !starved || unwrap();
    }

    private SSLEngineResult decrypt() throws IOException {
        cipherIn.flip();
        plainIn.clear();
        try {
            return engine.unwrap(cipherIn, plainIn);
        } catch (SSLException e) {
            sendAlert();
            throw e;
        } finally {
            cipherIn.compact();
            plainIn.flip();
        }
    }

    private boolean fill() throws IOException, ProtocolException {
        int n = channel.read(cipherIn);
        if (n < 0) {
            if (!handshaken) {
                throw new ProtocolException("Unexpected EOF before response completed");
            }
            // Many servers end without close_notify; the framing above tells whether bytes are
            // missing.
            truncated = true;
        }
        moved |= n > 0;
        return n > 0;
    }

    /** Whether bytes were received or sent since the last call. */
    boolean moved() {
        boolean did = moved;
        moved = false;
        return did;
    }

    boolean wantsWrite() {
        return cipherOut.hasRemaining();
    }

    boolean wantsRead(boolean application) {
        return !inTasks && (handshaken ? application : !cipherOut.hasRemaining());
    }
}
