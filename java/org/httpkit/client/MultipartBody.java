package org.httpkit.client;

import java.io.ByteArrayInputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;

/**
 * A multipart body whose large files are read while it is sent.
 *
 * <p>Everything else is in memory, so the length is known: the wire is the same as with {@link
 * MultipartEntity#encode}. Not API.
 */
public class MultipartBody {
    /** byte[], File or FileInputStream. */
    private final List<Object> pieces = new ArrayList<>();

    private long length;

    private MultipartBody() {}

    /**
     * A ByteBuffer for bodies without large files, else a MultipartBody; both are request bodies.
     *
     * @throws IOException when a part cannot be read
     * @throws IllegalArgumentException as {@link MultipartEntity#encode}
     */
    public static Object of(String boundary, List<MultipartEntity> entities, Boolean mixed) throws IOException {
        boolean large = false;
        for (MultipartEntity entity : entities) {
            entity.check(mixed);
            large |= isLarge(entity.content());
        }
        return large ? streamed(boundary, entities, mixed) : MultipartEntity.encode(boundary, entities, mixed);
    }

    private static boolean isLarge(Object content) {
        if (content instanceof File) {
            return ((File) content).length() > RequestBody.BUFFERED;
        }
        return content instanceof FileInputStream
                && RequestBody.remaining((FileInputStream) content) > RequestBody.BUFFERED;
    }

    private static MultipartBody streamed(String boundary, List<MultipartEntity> entities, boolean mixed)
            throws IOException {
        MultipartBody body = new MultipartBody();
        for (MultipartEntity entity : entities) {
            body.add(entity.head(boundary, mixed));
            body.addContent(entity);
            body.add(new byte[] {'\r', '\n'});
        }
        body.add(MultipartEntity.end(boundary));
        return body;
    }

    private void add(byte[] bytes) {
        pieces.add(bytes);
        length += bytes.length;
    }

    private void addContent(MultipartEntity entity) throws IOException {
        Object content = entity.content();
        if (!isLarge(content)) {
            add(entity.bytes());
            return;
        }
        pieces.add(content);
        length += content instanceof File
                ? ((File) content).length()
                : RequestBody.remaining((FileInputStream) content);
    }

    long length() {
        return length;
    }

    /** Opens all files at once, so that a missing one fails before the connection is made. */
    InputStream open() throws IOException {
        List<InputStream> streams = new ArrayList<>();
        for (Object piece : pieces) {
            if (piece instanceof byte[]) {
                streams.add(new ByteArrayInputStream((byte[]) piece));
            } else {
                streams.add(piece instanceof File ? new FileInputStream((File) piece) : (InputStream) piece);
            }
        }
        return new SequenceInputStream(Collections.enumeration(streams));
    }
}
