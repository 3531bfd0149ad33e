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
import java.util.Enumeration;
import java.util.List;

/**
 * A multipart body whose large files are read while it is sent; if it is sent in chunks, all
 * streams, too.
 *
 * <p>Everything else is in memory, so that without streams the length is known: the wire format is
 * that of {@link MultipartEntity#encode}. Not API.
 */
public class MultipartBody {
    private final List<Piece> pieces = new ArrayList<>();
    private final boolean chunked;

    private long length;

    private MultipartBody(boolean chunked) {
        this.chunked = chunked;
    }

    /**
     * A ByteBuffer for bodies that are in memory, else a MultipartBody; both are request bodies.
     *
     * @throws IOException if a part cannot be read
     * @throws IllegalArgumentException as {@link MultipartEntity#encode}
     */
    public static Object of(
            String boundary, List<MultipartEntity> entities, Boolean mixed, Boolean chunked)
            throws IOException {
        MultipartBody body = new MultipartBody(chunked);
        boolean streamed = false;
        for (MultipartEntity entity : entities) {
            entity.check(mixed);
            streamed |= body.streams(entity.content());
        }
        if (!streamed) {
            return MultipartEntity.encode(boundary, entities, mixed);
        }
        body.addAll(boundary, entities, mixed);
        return body;
    }

    private boolean streams(Object content) {
        return isLarge(content) || (chunked && content instanceof InputStream);
    }

    private static boolean isLarge(Object content) {
        if (content instanceof File) {
            return ((File) content).length() > RequestBody.BUFFERED;
        }
        return content instanceof FileInputStream
                && RequestBody.remaining((FileInputStream) content) > RequestBody.BUFFERED;
    }

    private void addAll(String boundary, List<MultipartEntity> entities, boolean mixed)
            throws IOException {
        for (MultipartEntity entity : entities) {
            add(entity.head(boundary, mixed));
            addContent(entity);
            add(new byte[] {'\r', '\n'});
        }
        add(MultipartEntity.end(boundary));
    }

    /** byte[], File or InputStream, and how much of it is sent. */
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

    /** Is closed to its end, whatever closing one of its streams throws. */
    private static final class Sequence extends SequenceInputStream {
        private final Enumeration<InputStream> rest;

        Sequence(Enumeration<InputStream> streams) {
            super(streams);
            rest = streams;
        }

        @Override
        public void close() throws IOException {
            try {
                super.close();
            } catch (Throwable t) {
                // The superclass goes on only after an IOException.
                while (rest.hasMoreElements()) {
                    RequestBody.abandon(rest.nextElement(), t);
                }
                throw t;
            }
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
        if (!streams(content)) {
            add(entity.bytes());
        } else if (content instanceof File) {
            add(content, ((File) content).length());
        } else if (isLarge(content)) {
            add(content, RequestBody.remaining((FileInputStream) content));
        } else {
            add(content, Long.MAX_VALUE);
        }
    }

    /** Unless it is sent in chunks. */
    long length() {
        return length;
    }

    /** Whether a read of a part may block on more than a disk. */
    boolean mayBlock() {
        return pieces.stream()
                .anyMatch(
                        piece ->
                                piece.content instanceof InputStream
                                        && RequestBody.mayBlock((InputStream) piece.content));
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
        return new Sequence(Collections.enumeration(streams));
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
