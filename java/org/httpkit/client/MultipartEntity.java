package org.httpkit.client;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** One part of a multipart body (RFC 2046, RFC 7578). */
public class MultipartEntity {
    private static final String OCTET_STREAM = "application/octet-stream";

    private final String name;
    private final Object content;
    private final String filename;
    private final String contentType;

    /** A part without its own content type. */
    public MultipartEntity(String name, Object content, String filename) {
        this(name, content, filename, null);
    }

    /**
     * @param name null only in a mixed body
     * @param content String, Number, byte[], ByteBuffer, File or InputStream
     * @param filename null for none
     * @param contentType null for none; File and InputStream then get application/octet-stream
     * @throws IllegalArgumentException for control characters in name, filename or type
     */
    public MultipartEntity(String name, Object content, String filename, String contentType) {
        this.name = checked("name", name);
        this.content = content;
        this.filename = checked("filename", filename);
        this.contentType = checked("content-type", contentType);
    }

    private static String checked(String what, String value) {
        if (value != null) {
            for (int i = 0; i < value.length(); i++) {
                if (Character.isISOControl(value.charAt(i))) {
                    throw new IllegalArgumentException("Control character in multipart " + what);
                }
            }
        }
        return value;
    }

    /** A boundary: {@code ----HttpKitFormBoundary} and the current time in milliseconds. */
    public static String genBoundary(List<MultipartEntity> entities) {
        return "----HttpKitFormBoundary" + System.currentTimeMillis();
    }

    /**
     * The whole multipart body in memory; InputStream parts are read to their end and closed.
     *
     * @param mixed true for multipart/mixed: parts without Content-Disposition
     * @return a buffer at position 0
     * @throws IOException if a File or InputStream cannot be read
     * @throws IllegalArgumentException for contents of another class, or a missing name
     */
    public static ByteBuffer encode(String boundary, List<MultipartEntity> entities, Boolean mixed)
            throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream(512);
        for (MultipartEntity entity : entities) {
            out.write(entity.head(boundary, mixed));
            out.write(entity.bytes());
            out.write('\r');
            out.write('\n');
        }
        out.write(end(boundary));
        return ByteBuffer.wrap(out.toByteArray());
    }

    static byte[] end(String boundary) {
        return ("--" + boundary + "--\r\n").getBytes(StandardCharsets.UTF_8);
    }

    /** Everything of the part before its content. */
    byte[] head(String boundary, boolean mixed) throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream(160);
        StringBuilder line = new StringBuilder("--").append(boundary).append("\r\n");
        if (!mixed) {
            line.append("Content-Disposition: form-data; name=\"")
                    .append(escape(requiredName()))
                    .append('"');
            if (filename != null) {
                line.append("; filename=\"").append(escape(filename)).append('"');
            }
            line.append("\r\n");
        }
        out.write(line.toString().getBytes(StandardCharsets.UTF_8));
        String type = effectiveType();
        if (type != null) {
            out.write(("Content-Type: " + type + "\r\n").getBytes(StandardCharsets.US_ASCII));
        }
        out.write('\r');
        out.write('\n');
        return out.toByteArray();
    }

    Object content() {
        return content;
    }

    /** Throws what {@link #encode} would throw for this part, without reading it. */
    void check(boolean mixed) {
        if (!mixed) {
            requiredName();
        }
        if (!(content instanceof String
                || content instanceof Number
                || content instanceof byte[]
                || content instanceof ByteBuffer
                || content instanceof File
                || content instanceof InputStream)) {
            throw unknownType();
        }
    }

    private String requiredName() {
        if (name == null) {
            throw new IllegalArgumentException("Multipart name must not be null");
        }
        return name;
    }

    private String effectiveType() {
        if (contentType != null) {
            return contentType;
        }
        return content instanceof File || content instanceof InputStream ? OCTET_STREAM : null;
    }

    private static String escape(String value) {
        return value.replace("\\", "\\\\").replace("\"", "\\\"");
    }

    byte[] bytes() throws IOException {
        if (content instanceof String || content instanceof Number) {
            return content.toString().getBytes(StandardCharsets.UTF_8);
        } else if (content instanceof byte[]) {
            return (byte[]) content;
        } else if (content instanceof ByteBuffer) {
            ByteBuffer buffer = (ByteBuffer) content;
            byte[] bytes = new byte[buffer.remaining()];
            buffer.get(bytes);
            return bytes;
        } else if (content instanceof File) {
            try (InputStream in = new FileInputStream((File) content)) {
                return in.readAllBytes();
            }
        } else if (content instanceof InputStream) {
            try (InputStream in = RequestBody.plain((InputStream) content)) {
                return in.readAllBytes();
            }
        }
        throw unknownType();
    }

    private RuntimeException unknownType() {
        if (content == null) {
            return new NullPointerException(
                    "Multipart content of parameter " + name + " must not be null");
        }
        return new IllegalArgumentException(
                "Unknown parameter type "
                        + content.getClass().getName()
                        + " of parameter "
                        + name
                        + ". Try to pass a string.");
    }
}
