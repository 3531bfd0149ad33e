package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * Sends what it reads from a source. The first part is sent on the handler's thread. If the source
 * is long or slow, the rest is sent by a task, which ends whenever the peer falls behind and runs
 * again once the peer has caught up.
 */
final class BodyPump extends BodyTask {
    /** Most bodies are short enough for one read. */
    private static final int FIRST_PIECE = 8 * 1024;

    private static final int PIECE = 64 * 1024;

    /** Pieces sent before this thread yields to other bodies. */
    private static final int TURN = 16;

    private BodySource source;

    /** The last piece, or what is gathered, was refused: there is no room for it yet. */
    private boolean full;

    /** The state of a body after {@link #begin}. */
    enum Begun {
        /** The writer holds the whole body, for the caller to send. */
        WHOLE,
        /** Everything has been sent. */
        SENT,
        /** It is long or slow, and is being streamed: {@link #start} sends the rest. */
        STREAMING
    }

    BodyPump(OpenBody body, ResponseWriter out, BodySource source) {
        super(body, out);
        this.source = source;
    }

    /** Reads on the calling thread, which blocks only on the source. */
    Begun begin() throws Exception {
        try {
            for (int size = FIRST_PIECE; !body.isStreaming(); size = PIECE) {
                if (!hasPiece(size) || !sendPiece()) {
                    closeSource();
                    return body.end() ? Begun.WHOLE : Begun.SENT;
                }
            }
            return Begun.STREAMING;
        } catch (Throwable e) {
            closeAfter(e);
            throw e;
        }
    }

    @Override
    public void run() {
        try {
            requirePeer();
            for (int pieces = 1; hasRoom(); pieces++) {
                if (pieces % TURN == 0 && server.bodies.isCrowded()) {
                    server.bodies.run(this);
                    return;
                }
                if (!goesOn() && settle()) {
                    complete();
                    return;
                }
            }
        } catch (Throwable e) {
            refused(e);
        }
    }

    @Override
    void refused(Throwable e) {
        closeAfter(e);
        fail(e);
    }

    /** Sends the next piece. @return false at the end */
    private boolean goesOn() throws Exception {
        if (source == null || body.isUnwanted() || !hasPiece(PIECE) || !sendPiece()) {
            closeSource();
            return false;
        }
        return true;
    }

    private boolean settle() {
        full = body.settle() == Abi.SENT_FULL;
        return !full;
    }

    /** If false, this task will run again or is already running: do not touch it any more. */
    private boolean hasRoom() throws PeerGoneException {
        if (!full && (!body.isStreaming() || Native.pendingBytes(body.handle) < OpenBody.WINDOW)) {
            return true;
        }
        if (source != null) {
            source.shrink();
        }
        full = false; // before another thread may run this
        if (server.bodies.awaitsRoom(this)) {
            return false;
        }
        requirePeer();
        return true;
    }

    /** The source may be slow, so stop reading once the peer has disconnected. */
    private void requirePeer() throws PeerGoneException {
        if (!Native.isOpen(body.handle)) {
            throw new PeerGoneException();
        }
    }

    private boolean hasPiece(int size) throws Exception {
        return source.count > 0 || source.read(size);
    }

    /**
     * @return false if no more is needed
     */
    private boolean sendPiece() throws PeerGoneException {
        int count = Math.min(source.count, PIECE);
        switch (body.send(source.bytes, source.start, count)) {
            case Abi.SENT_ACCEPTED:
                source.sent(count);
                return true;
            case Abi.SENT_CLOSED:
                throw new PeerGoneException();
            case OpenBody.UNWANTED:
                return false;
            default:
                full = true; // the piece is sent later
                return true;
        }
    }

    private void closeSource() throws Exception {
        if (source != null) {
            BodySource closed = source;
            source = null;
            closed.close();
        }
    }

    private void closeAfter(Throwable failure) {
        try {
            closeSource();
        } catch (Throwable e) {
            if (e != failure) {
                failure.addSuppressed(e);
            }
        }
    }
}
