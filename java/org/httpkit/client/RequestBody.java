package org.httpkit.client;

import clojure.lang.ISeq;
import clojure.lang.Seqable;

import org.httpkit.HeaderValues;

import java.io.ByteArrayInputStream;
import java.io.Closeable;
import java.io.File;
import java.io.FileInputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.SequenceInputStream;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Objects;

/**
 * The body of a request: bytes in memory, or a source that is read while it is sent.
 *
 * <p>Sources are used if the length is known beforehand, so that the wire format is that of a
 * buffered body, or if the user asked for chunks.
 */
final class RequestBody implements Closeable {
    /** Above this many bytes a body of known length is read while it is sent. */
    static final int BUFFERED = 256 * 1024;

    private static final int PREFIX = 1024 * 1024;
    private static final byte[] NONE = new byte[0];

    private final byte[] bytes;
    private final int offset;
    private final InputStream source;
    private final long length;
    private final boolean exact;
    private final boolean mayBlock;

    private RequestBody(
            byte[] bytes,
            int offset,
            InputStream source,
            long length,
            boolean exact,
            boolean mayBlock) {
        this.bytes = bytes;
        this.offset = offset;
        this.source = source;
        this.length = length;
        this.exact = exact;
        this.mayBlock = mayBlock;
    }

    /**
     * Converts the body of a request; InputStreams that are not streamed are read and closed here.
     *
     * @return null if the request has none
     * @throws RuntimeException for classes that cannot be a body
     */
    static RequestBody of(RequestConfig config) throws IOException {
        Object body = config.body;
        if (body == null) {
            return null;
        } else if (config.chunked) {
            InputStream in = open(body);
            boolean mayBlock =
                    body instanceof MultipartBody
                            ? ((MultipartBody) body).mayBlock()
                            : mayBlock(in);
            return source(in, -1, false, mayBlock);
        } else if (body instanceof File) {
            return ofFile((File) body);
        } else if (body instanceof InputStream) {
            return ofStream((InputStream) body, declaredLength(config.headers()));
        } else if (body instanceof MultipartBody) {
            return source(
                    ((MultipartBody) body).open(), ((MultipartBody) body).length(), false, false);
        } else if (body instanceof ByteBuffer) {
            return ofBuffer((ByteBuffer) body);
        }
        return memory(inMemory(body));
    }

    /** Closes what would have been read, if {@code why} had not been thrown. */
    static void abandon(Object body, Throwable why) {
        if (body instanceof MultipartBody) {
            ((MultipartBody) body).abandon(why);
        } else if (body instanceof InputStream) {
            try {
                ((InputStream) body).close();
            } catch (Throwable t) {
                // addSuppressed throws for the exception itself.
                if (t != why) {
                    why.addSuppressed(t);
                }
            }
        }
    }

    private static RequestBody memory(byte[] bytes) {
        return new RequestBody(bytes, 0, null, bytes.length, false, false);
    }

    private static RequestBody source(
            InputStream in, long length, boolean exact, boolean mayBlock) {
        return new RequestBody(NONE, 0, in, length, exact, mayBlock);
    }

    static boolean mayBlock(InputStream in) {
        boolean file =
                in.getClass() == FileInputStream.class && remaining((FileInputStream) in) >= 0;
        return !file && in.getClass() != ByteArrayInputStream.class;
    }

    private static byte[] inMemory(Object body) {
        if (body instanceof byte[]) {
            return (byte[]) body;
        } else if (body instanceof String) {
            return ((String) body).getBytes(StandardCharsets.UTF_8);
        } else if (body instanceof Seqable) {
            return joined((Seqable) body);
        }
        throw new RuntimeException(
                body.getClass()
                        + " is not understandable: a request's :body is nil, a String, byte[],"
                        + " ByteBuffer, InputStream, File or a sequence");
    }

    private static byte[] joined(Seqable parts) {
        StringBuilder text = new StringBuilder();
        for (ISeq s = parts.seq(); s != null; s = s.next()) {
            text.append(Objects.requireNonNull(s.first(), "nil in a request's :body, a sequence"));
        }
        return text.toString().getBytes(StandardCharsets.UTF_8);
    }

    private static RequestBody ofBuffer(ByteBuffer buffer) {
        int n = buffer.remaining();
        if (buffer.hasArray()) {
            int from = buffer.arrayOffset() + buffer.position();
            buffer.position(buffer.limit());
            return new RequestBody(buffer.array(), from, null, n, false, false);
        }
        byte[] copy = new byte[n];
        buffer.get(copy);
        return memory(copy);
    }

    private static InputStream open(Object body) throws IOException {
        if (body instanceof InputStream) {
            return (InputStream) body;
        } else if (body instanceof File) {
            return new FileInputStream((File) body);
        } else if (body instanceof MultipartBody) {
            return ((MultipartBody) body).open();
        } else if (body instanceof ByteBuffer) {
            RequestBody buffer = ofBuffer((ByteBuffer) body);
            return new ByteArrayInputStream(buffer.bytes, buffer.offset, (int) buffer.length);
        }
        return new ByteArrayInputStream(inMemory(body));
    }

    private static RequestBody ofFile(File file) throws IOException {
        FileInputStream in = new FileInputStream(file);
        long size = remaining(in);
        if (size > BUFFERED) {
            return source(in, size, false, false);
        }
        try (in) {
            return memory(plain(in).readAllBytes());
        }
    }

    // Only streams that turn out to be long, with a known length, are worth a pump.
    private static RequestBody ofStream(InputStream in, long declared) throws IOException {
        boolean streamed = false;
        try {
            byte[] prefix = plain(in).readNBytes(PREFIX);
            long rest = in instanceof FileInputStream ? remaining((FileInputStream) in) : -1;
            long length = rest >= 0 ? prefix.length + rest : declared;
            if (prefix.length == PREFIX && length > PREFIX) {
                streamed = true;
                InputStream whole = new SequenceInputStream(new ByteArrayInputStream(prefix), in);
                // A declared length must be true; a file may grow meanwhile.
                return source(whole, length, rest < 0, mayBlock(in));
            }
            return memory(appendRest(prefix, in));
        } finally {
            if (!streamed) {
                in.close();
            }
        }
    }

    private static byte[] appendRest(byte[] prefix, InputStream in) throws IOException {
        if (prefix.length < PREFIX) {
            return prefix;
        }
        InputStream rest =
                new FilterInputStream(in) {
                    @Override
                    public void close() {
                        // The caller does, once; a SequenceInputStream would at its end.
                    }
                };
        return new SequenceInputStream(new ByteArrayInputStream(prefix), rest).readAllBytes();
    }

    /** FileInputStream's bulk reads ask for its position, which a pipe does not have. */
    static InputStream plain(InputStream in) {
        boolean pipe = in instanceof FileInputStream && remaining((FileInputStream) in) < 0;
        return pipe ? new FilterInputStream(in) {} : in;
    }

    /**
     * Bytes up to the end of the file; -1 for files without one: pipes, devices, sockets (on Java
     * 11).
     */
    static long remaining(FileInputStream in) {
        // In an interrupted thread, a channel that is asked anything closes its file.
        boolean interrupted = Thread.interrupted();
        try {
            FileChannel channel = in.getChannel();
            return channel == null ? -1 : channel.size() - channel.position();
        } catch (IOException e) {
            return -1;
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private static long declaredLength(Map<String, Object> headers) {
        if (headers != null) {
            for (Map.Entry<?, ?> header : headers.entrySet()) {
                if ("content-length".equalsIgnoreCase(String.valueOf(header.getKey()))) {
                    String value = String.valueOf(HeaderValues.single(header.getValue()));
                    return value.matches("[0-9]{1,18}") ? Long.parseLong(value) : -1;
                }
            }
        }
        return -1;
    }

    /** Number of bytes, or -1 if unknown until the end of the source. */
    long length() {
        return length;
    }

    boolean streamed() {
        return source != null;
    }

    /** The bytes in memory; they start at {@link #offset}. */
    byte[] bytes() {
        return bytes;
    }

    int offset() {
        return offset;
    }

    int buffered() {
        return source == null ? (int) length : 0;
    }

    InputStream source() {
        return source;
    }

    /** Whether a read of the source may block on more than a disk. */
    boolean mayBlock() {
        return mayBlock;
    }

    /** Whether the source must end at its length. */
    boolean exact() {
        return exact;
    }

    @Override
    public void close() throws IOException {
        if (source != null) {
            source.close();
        }
    }
}
