package org.httpkit;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.util.Arrays;
import java.util.Objects;

/**
 * A body in memory, read from an array that is not copied.
 *
 * <p>It can be read again: {@link #reset} without a mark goes to the start, {@link #bytes} ignores
 * the position, and {@link #close} does nothing.
 */
public class BytesInputStream extends InputStream {
    private final byte[] buf;
    private final int start;
    private final int end;
    private int pos;
    private int mark;

    /**
     * @throws IndexOutOfBoundsException if {@code length} is negative or beyond the array
     */
    public BytesInputStream(byte[] buf, int length) {
        this(buf, 0, length);
    }

    /**
     * A window into a larger array.
     *
     * @throws IndexOutOfBoundsException if the window is not inside the array
     */
    public BytesInputStream(byte[] buf, int offset, int length) {
        Objects.checkFromIndexSize(offset, length, buf.length);
        this.buf = buf;
        this.start = offset;
        this.end = offset + length;
        this.pos = offset;
        this.mark = offset;
    }

    /**
     * @return a copy of the whole content, however much has been read
     */
    public byte[] bytes() {
        return Arrays.copyOfRange(buf, start, end);
    }

    /**
     * @return the length of the whole content, in bytes
     */
    public int getCount() {
        return end - start;
    }

    @Override
    public int read() throws IOException {
        return pos < end ? buf[pos++] & 0xff : -1;
    }

    /** As in {@link InputStream}, with 0 for {@code length} 0 even at the end. */
    @Override
    public int read(byte[] target, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, target.length);
        if (length == 0) {
            return 0;
        }
        if (pos == end) {
            return -1;
        }
        int n = Math.min(length, end - pos);
        System.arraycopy(buf, pos, target, offset, n);
        pos += n;
        return n;
    }

    @Override
    public byte[] readAllBytes() {
        byte[] rest = Arrays.copyOfRange(buf, pos, end);
        pos = end;
        return rest;
    }

    @Override
    public long transferTo(OutputStream out) throws IOException {
        int n = end - pos;
        out.write(buf, pos, n);
        pos = end;
        return n;
    }

    @Override
    public long skip(long n) throws IOException {
        int skipped = (int) Math.max(0, Math.min(n, end - pos));
        pos += skipped;
        return skipped;
    }

    @Override
    public int available() {
        return end - pos;
    }

    @Override
    public boolean markSupported() {
        return true;
    }

    /**
     * @param readLimit ignored: a mark stays valid
     */
    @Override
    public void mark(int readLimit) {
        mark = pos;
    }

    /** Returns to the mark, initially the start. Never throws. */
    @Override
    public void reset() {
        pos = mark;
    }

    @Override
    public void close() {}

    @Override
    public String toString() {
        return "BytesInputStream[len=" + getCount() + "]";
    }
}
