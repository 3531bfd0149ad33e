package org.httpkit;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.nio.ByteBuffer;
import java.nio.charset.Charset;
import java.util.Arrays;
import java.util.Objects;

/** A byte array that grows as bytes are appended. For one thread at a time. */
public class DynamicBytes {
    /** The longest array that common JVMs allow, minus one word for safety. */
    private static final int MAX_CAPACITY = Integer.MAX_VALUE - 8;

    private byte[] data;
    private int length;

    /**
     * @param capacity initial capacity, in bytes
     */
    public DynamicBytes(int capacity) {
        data = new byte[capacity];
    }

    /**
     * @return the live array, often longer than {@link #length}; growth replaces it
     */
    public byte[] get() {
        return data;
    }

    /**
     * @return how many bytes have been appended
     */
    public int length() {
        return length;
    }

    /**
     * @return a copy of the appended bytes
     */
    public byte[] bytes() {
        return Arrays.copyOf(data, length);
    }

    public DynamicBytes append(byte b) {
        ensureRoom(1);
        data[length++] = b;
        return this;
    }

    public void append(byte first, byte second) {
        ensureRoom(2);
        data[length++] = first;
        data[length++] = second;
    }

    /** Appends the first {@code n} bytes. */
    public DynamicBytes append(byte[] bytes, int n) {
        Objects.checkFromIndexSize(0, n, bytes.length);
        ensureRoom(n);
        System.arraycopy(bytes, 0, data, length, n);
        length += n;
        return this;
    }

    /** Appends the remaining bytes, and consumes them. */
    public DynamicBytes append(ByteBuffer buffer) {
        int n = buffer.remaining();
        ensureRoom(n);
        buffer.get(data, length, n);
        length += n;
        return this;
    }

    /** Appends text as ASCII, every other character as a question mark. */
    public DynamicBytes append(String text) {
        return append(text, US_ASCII);
    }

    public DynamicBytes append(String text, Charset charset) {
        byte[] bytes = text.getBytes(charset);
        return append(bytes, bytes.length);
    }

    @Override
    public String toString() {
        return "DynamicBytes[len=" + length + ", cap=" + data.length + "]";
    }

    /**
     * @return the length that the array has once {@code n} bytes are appended
     */
    public int capacityFor(int n) {
        long need = (long) length + n;
        return need > data.length ? grown(data.length, need) : data.length;
    }

    private void ensureRoom(int n) {
        int capacity = capacityFor(n);
        if (capacity > data.length) {
            data = Arrays.copyOf(data, capacity);
        }
    }

    /** Half as much again, or a quarter more than needed where that is too small. */
    private static int grown(int capacity, long need) {
        if (need > MAX_CAPACITY) {
            throw new ContentTooLargeException("content exceeds " + MAX_CAPACITY + " bytes");
        }
        long half = capacity + (long) (capacity >> 1);
        long wanted = half >= need ? half : need + (need >> 2);
        return (int) Math.min(wanted, MAX_CAPACITY);
    }
}
