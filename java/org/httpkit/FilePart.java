package org.httpkit;

import java.io.EOFException;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;

/** A part of a file, as the body of a response. It is read when the response is sent. */
public final class FilePart {
    private final File file;
    private final long offset;
    private final long length;

    /**
     * @param offset of the first byte
     * @param length in bytes
     * @throws IllegalArgumentException for negative numbers, and for a part that ends beyond {@code
     *     Long.MAX_VALUE}
     */
    public FilePart(File file, long offset, long length) {
        if (offset < 0 || length < 0 || offset + length < 0) {
            String expected =
                    offset < 0 || length < 0
                            ? "no number below 0"
                            : "an end of at most " + Long.MAX_VALUE;
            throw new IllegalArgumentException(
                    "part of " + length + " bytes from " + offset + " on: expected " + expected);
        }
        this.file = file;
        this.offset = offset;
        this.length = length;
    }

    public File file() {
        return file;
    }

    public long offset() {
        return offset;
    }

    public long length() {
        return length;
    }

    /**
     * @throws EOFException if the file does not have all of it
     * @throws FileNotFoundException if there is no such file
     */
    public void requirePresent() throws IOException {
        if (!file.isFile()) {
            throw new FileNotFoundException(file + " is no file");
        }
        if (file.length() - offset < length) {
            throw new EOFException(file + " is shorter than " + (offset + length) + " bytes");
        }
    }

    /**
     * All of it.
     *
     * @throws ContentTooLargeException beyond 2 GiB
     * @throws EOFException if the file is shorter
     */
    public ByteBuffer read() throws IOException {
        if (length > Integer.MAX_VALUE) {
            throw new ContentTooLargeException(this + " exceeds 2 GiB");
        }
        requirePresent();
        byte[] content = new byte[(int) length];
        // Not through a channel, which the interrupt of a handler's thread would close.
        try (RandomAccessFile in = new RandomAccessFile(file, "r")) {
            in.seek(offset);
            in.readFully(content);
        } catch (EOFException e) {
            throw new EOFException(file + " became shorter while it was read");
        }
        return ByteBuffer.wrap(content);
    }

    @Override
    public String toString() {
        return "FilePart[" + file + ", " + length + " bytes from " + offset + " on]";
    }
}
