package org.httpkit.client;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A multipart body whose large files are read while it is sent.
 *
 * <p>Everything else is in memory, so the length is known: the wire format is that of {@link
 * MultipartEntity#encode}. Not API.
 */
public class MultipartBody {
    private final List<Piece> pieces = new ArrayList<>();

    private long length;

    private MultipartBody() {}

    /**
     * A ByteBuffer for bodies without large files, else a MultipartBody; both are request bodies.
     *
     * @throws IOException if a part cannot be read
     * @throws IllegalArgumentException as {@link MultipartEntity#encode}
     */
    public static Object of(String boundary, List<MultipartEntity> entities, Boolean mixed)
            throws IOException {
        boolean large = false;
        for (MultipartEntity entity : entities) {
            entity.check(mixed);
            large |= isLarge(entity.content());
        }
        return large
                ? streamed(boundary, entities, mixed)
                : MultipartEntity.encode(boundary, entities, mixed);
    }

    private static boolean isLarge(Object content) {
        if (content instanceof File) {
            return ((File) content).length() > RequestBody.BUFFERED;
        }
        return content instanceof FileInputStream
                && RequestBody.remaining((FileInputStream) content) > RequestBody.BUFFERED;
    }

    private static MultipartBody streamed(
            String boundary, List<MultipartEntity> entities, boolean mixed) throws IOException {
        MultipartBody body = new MultipartBody();
        for (MultipartEntity entity : entities) {
            body.add(entity.head(boundary, mixed));
            body.addContent(entity);
            body.add(new byte[] {'\r', '\n'});
        }
        body.add(MultipartEntity.end(boundary));
        return body;
    }

    /** byte[], File or FileInputStream, and how much of it is sent. */
    private static final class Piece {
        final Object content;
        final long length;

        Piece(Object content, long length) {
            this.content = content;
            this.length = length;
        }

        InputStream open() throws IOException {
            if (content instanceof byte[]) {
                return new ByteArrayInputStream((byte[]) content);
            }
            return new Beginning(
                    content instanceof File
                            ? new FileInputStream((File) content)
                            : (InputStream) content,
                    length);
        }
    }

    /** A file up to its initial length: it may grow meanwhile, and other parts follow it. */
    private static final class Beginning extends FilterInputStream {
        private long left;

        Beginning(InputStream file, long length) {
            super(file);
            left = length;
        }

        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            if (left == 0) {
                return -1;
            }
            int n = in.read(into, offset, (int) Math.min(length, left));
            left -= Math.max(0, n);
            return n;
        }
    }

    private void add(byte[] bytes) {
        add(bytes, bytes.length);
    }

    private void add(Object content, long size) {
        pieces.add(new Piece(content, size));
        length += size;
    }

    private void addContent(MultipartEntity entity) throws IOException {
        Object content = entity.content();
        if (!isLarge(content)) {
            add(entity.bytes());
            return;
        }
        add(
                content,
                content instanceof File
                        ? ((File) content).length()
                        : RequestBody.remaining((FileInputStream) content));
    }

    long length() {
        return length;
    }

    /** Opens all files together, so that a missing one fails before the connection is made. */
    InputStream open() throws IOException {
        List<InputStream> streams = new ArrayList<>();
        try {
            for (Piece piece : pieces) {
                streams.add(piece.open());
            }
        } catch (Throwable t) {
            streams.forEach(stream -> RequestBody.abandon(stream, t));
            abandon(t);
            throw t;
        }
        return new SequenceInputStream(Collections.enumeration(streams));
    }

    /** Instead of {@link #open}: closes the files that are already open. */
    void abandon(Throwable why) {
        pieces.forEach(piece -> abandon(piece.content, why));
    }

    /**
     * Closes a part's content, if it is a stream, which would have been read but for {@code why}.
     */
    public static void abandon(Object content, Throwable why) {
        RequestBody.abandon(content, why);
    }
}
