package org.httpkit.client;

import org.httpkit.HttpMethod;
import org.httpkit.HttpStatus;
import org.httpkit.HttpVersion;
import org.httpkit.LineTooLargeException;
import org.httpkit.ProtocolException;
import org.httpkit.jni.Abi;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.NativeClient;
import org.httpkit.jni.NativeLibrary;

import java.lang.ref.Cleaner;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Decodes one response (RFC 9112) from any number of buffers, with the client's own parser.
 *
 * <p>Calls the listener for status line, headers and body, never {@link IRespListener#onCompleted}
 * or {@link IRespListener#onThrowable}: errors are thrown.
 */
public class Decoder {
    private static final Cleaner CLEANER = Cleaner.create();

    private final IRespListener listener;
    private final long decoder;
    private State state = State.READ_INITIAL;

    /**
     * @param method HEAD makes the response bodyless
     */
    public Decoder(IRespListener listener, HttpMethod method) {
        this.listener = listener;
        NativeLibrary.load();
        long opened = NativeClient.decoderOpen(method == HttpMethod.HEAD);
        decoder = opened;
        CLEANER.register(this, () -> NativeClient.decoderClose(opened));
    }

    /**
     * Takes bytes up to the end of the response; later bytes stay in the buffer.
     *
     * @return ALL_READ once the response is complete
     */
    public State decode(ByteBuffer buffer)
            throws LineTooLargeException, ProtocolException, AbortException {
        if (state == State.ALL_READ) {
            return state;
        }
        byte[] bytes = new byte[buffer.remaining()];
        buffer.duplicate().get(bytes);
        byte[] events = NativeClient.decoderFeed(decoder, bytes, 0, bytes.length);
        // The trailer of the events first: the buffer must be right even if a listener throws.
        ByteBuffer end =
                ByteBuffer.wrap(events, events.length - 5, 5).order(ByteOrder.LITTLE_ENDIAN);
        state = State.of(end.get());
        buffer.position(buffer.position() + end.getInt());
        play(ByteBuffer.wrap(events).order(ByteOrder.LITTLE_ENDIAN));
        return state;
    }

    private void play(ByteBuffer events)
            throws LineTooLargeException, ProtocolException, AbortException {
        while (true) {
            switch (events.get()) {
                case Abi.DECODED_STATUS:
                    boolean old = (events.get() & Abi.HEAD_HTTP10) != 0;
                    HttpVersion version = old ? HttpVersion.HTTP_1_0 : HttpVersion.HTTP_1_1;
                    listener.onInitialLineReceived(version, HttpStatus.valueOf(events.getChar()));
                    break;
                case Abi.DECODED_HEADERS:
                    listener.onHeadersReceived(HeaderBlock.parse(bytes(events, events.getInt())));
                    break;
                case Abi.DECODED_BODY:
                    byte[] body = bytes(events, events.getInt());
                    listener.onBodyReceived(body, body.length);
                    break;
                case Abi.DECODED_ERROR:
                    fail(
                            events.get(),
                            new String(bytes(events, events.getChar()), StandardCharsets.UTF_8));
                    break;
                case Abi.DECODED_STATE:
                default:
                    return;
            }
        }
    }

    private static byte[] bytes(ByteBuffer events, int length) {
        byte[] copy =
                Arrays.copyOfRange(events.array(), events.position(), events.position() + length);
        events.position(events.position() + length);
        return copy;
    }

    private static void fail(int kind, String message)
            throws LineTooLargeException, ProtocolException {
        Throwable failure = ClientUpcalls.failure(kind, message);
        if (failure instanceof LineTooLargeException) {
            throw (LineTooLargeException) failure;
        } else if (failure instanceof ProtocolException) {
            throw (ProtocolException) failure;
        }
        throw new IllegalStateException(failure);
    }
}

/** The state of a {@link Decoder}. */
enum State {
    READ_INITIAL(Abi.STATE_STATUS),
    READ_HEADER(Abi.STATE_HEADERS),
    READ_FIXED_LENGTH_CONTENT(Abi.STATE_FIXED),
    READ_CHUNK_SIZE(Abi.STATE_CHUNK_SIZE),
    READ_CHUNKED_CONTENT(Abi.STATE_CHUNK),
    READ_CHUNK_DELIMITER(Abi.STATE_CHUNK_END),
    READ_CHUNK_FOOTER(Abi.STATE_TRAILERS),
    READ_VARIABLE_LENGTH_CONTENT(Abi.STATE_UNTIL_CLOSE),
    ALL_READ(Abi.STATE_DONE);

    private static final State[] BY_NUMBER = byNumber();

    private final int number;

    State(int number) {
        this.number = number;
    }

    private static State[] byNumber() {
        State[] states = new State[values().length];
        for (State state : values()) {
            states[state.number] = state;
        }
        return states;
    }

    /**
     * @param number {@code Abi.STATE_*}
     */
    static State of(int number) {
        return BY_NUMBER[number];
    }
}
