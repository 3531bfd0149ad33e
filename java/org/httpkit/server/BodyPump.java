package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

/**
 * Sends what is read from a source: its first part on the handler's thread, the rest, if it is long
 * or slow, as a task that ends whenever the peer is behind, and is run again when that has caught
 * up.
 */
final class BodyPump extends BodyTask {
    /** Most bodies are short, and read at once. */
    private static final int FIRST_PIECE = 8 * 1024;

    private static final int PIECE = 64 * 1024;

    /** Pieces that are sent before other bodies get this thread. */
    private static final int TURN = 16;

    private BodySource source;

    /** What has become of a body on the handler's thread. */
    enum Begun {
        /** All of it is in the writer, for the caller to send. */
        WHOLE,
        /** All that is to be sent is sent. */
        SENT,
        /** It is long, or slow, and being streamed: the rest is for {@link #start}. */
        STREAMING
    }

    BodyPump(OpenBody body, ResponseWriter out, BodySource source) {
        super(body, out);
        this.source = source;
    }

    /** Reads on the calling thread, which waits for the source alone. */
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
                if (body.isUnwanted() || !hasPiece(PIECE) || !sendPiece()) {
                    closeSource();
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

    /** Otherwise this task is run again, or runs already: it must not be touched any more. */
    private boolean hasRoom() throws PeerGoneException {
        if (!body.isStreaming() || Native.pendingBytes(body.handle) < OpenBody.WINDOW) {
            return true;
        }
        source.shrink();
        if (server.bodies.awaitsRoom(this)) {
            return false;
        }
        requirePeer();
        return true;
    }

    /** The source may be slow: nothing is read from it for a peer that has left. */
    private void requirePeer() throws PeerGoneException {
        if (!Native.isOpen(body.handle)) {
            throw new PeerGoneException();
        }
    }

    private boolean hasPiece(int size) throws Exception {
        return source.count > 0 || source.read(size);
    }

    /**
     * @return false if no more is wanted
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
                return true; // there is no room: the piece is sent later
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
