package org.httpkit.server;

import org.httpkit.FilePart;
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

    /** All of a file, or the part that is to be sent; null for other bodies. */
    static FilePart file(Object body) {
        return body instanceof File
                ? new FilePart((File) body, 0, ((File) body).length())
                : body instanceof FilePart ? (FilePart) body : null;
    }

    /** Whether to read a file of this length into memory, instead of leaving it to the kernel. */
    static boolean readsFile(HttpServer server, ResponseWriter out, long length) {
        return OpenBody.isShort(server, length) || out.wantsFile(length);
    }

    /**
     * Responds with {@code out.stream}, a File or FilePart, which is read as the peer takes it. A
     * File may have grown or shrunk since {@code file} was made, and is sent as it is.
     *
     * @param head whether the request was a HEAD
     * @return false if the exchange is over
     * @throws IOException if it cannot be opened, or is shorter: then nothing was sent
     */
    static boolean sendFile(long exchange, ResponseWriter out, FilePart file, boolean head)
            throws IOException {
        boolean whole = out.stream instanceof File;
        out.leavePlain(file.length());
        if (head || !whole) {
            file.requirePresent();
        }
        if (head) {
            out.declareLength(file.length());
            return send(exchange, out);
        }
        // If something is wrong with the file, Java's own exception says what.
        new FileInputStream(file.file()).close();
        byte[] path = file.file().getPath().getBytes(ListenAddress.PATHS);
        int sent =
                Native.respondFile(
                        exchange,
                        out.status,
                        out.flags,
                        out.buffer,
                        out.head,
                        path,
                        file.offset(),
                        whole ? -1 : file.length());
        return sent != Abi.SENT_CLOSED;
    }

    /** Starts a response of unknown length with {@code length} bytes. @return {@code Abi.SENT_*} */
    static int start(long exchange, ResponseWriter out, byte[] first, int start, int length) {
        return Native.stream(
                exchange, out.status, out.flags, out.buffer, out.head, first, start, length);
    }
}
