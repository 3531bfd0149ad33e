package org.httpkit.jni;

/** Makes a native library that was built with cargo's feature {@code faults} panic. */
public final class Faults {
    static {
        NativeLibrary.load();
    }

    private Faults() {}

    /** The next native method that the calling thread calls panics. */
    public static native void arm();

    /** Every {@code n}-th point that native methods and loops pass panics; none with 0. */
    public static native void every(int n);
}
