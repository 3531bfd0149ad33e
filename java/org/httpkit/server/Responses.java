package org.httpkit.server;

import org.httpkit.jni.Abi;
import org.httpkit.jni.Native;

import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;

/** Passes finished responses down to the native side. */
final class Responses {
    private Responses() {}

    /**
     * @return false if the exchange is over
     */
    static boolean send(long exchange, ResponseWriter out) {
        out.codeWhole();
        int sent =
                Native.respond(
                        exchange,
                        out.status,
                        out.flags,
                        out.declared,
                        out.buffer,
                        out.head,
                        out.body,
                        out.large,
                        out.largeStart,
                        out.largeLength);
        return sent != Abi.SENT_CLOSED;
    }

    /** {@link #send}s, then blocks until the next piece of work. */
    static byte[] sendAndTake(long server, long exchange, ResponseWriter out) {
        out.codeWhole();
        byte[] large = out.large;
        out.large = null;
        return Native.respondAndTake(
                server,
                exchange,
                out.status,
                out.flags,
                out.declared,
                out.buffer,
                out.head,
                out.body,
                large,
                out.largeStart,
                out.largeLength);
    }

    /**
     * Responds with bytes of a file, which are read as the peer takes them.
     *
     * @param length -1 for all to the end
     * @throws IOException if it cannot be opened, or is shorter: then nothing was sent
     */
    static void sendFile(long exchange, ResponseWriter out, File file, long offset, long length)
            throws IOException {
        // If something is wrong with the file, Java's own exception says what.
        new FileInputStream(file).close();
        byte[] path = file.getPath().getBytes(ListenAddress.PATHS);
        Native.respondFile(
                exchange, out.status, out.flags, out.buffer, out.head, path, offset, length);
    }

    /** Starts a response of unknown length with {@code length} bytes. @return {@code Abi.SENT_*} */
    static int start(long exchange, ResponseWriter out, byte[] first, int start, int length) {
        return Native.stream(
                exchange, out.status, out.flags, out.buffer, out.head, first, start, length);
    }
}
