package org.httpkit.jni;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.SeekableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Locale;

/**
 * What the running Java binary can load: operating system, architecture and, on Linux, libc.
 *
 * <p>The libc is that of the Java binary, not of the machine: a glibc Java on Alpine needs the
 * glibc library.
 */
final class Platform {
    private static final int PT_INTERP = 3;

    /** {@code linux}, {@code macos}, {@code windows}, or the lower-case {@code os.name}. */
    final String os;

    /** {@code x86_64}, {@code aarch64}, or {@code os.arch} as it is. */
    final String arch;

    /** {@code glibc} or {@code musl} on Linux, elsewhere null. */
    final String libc;

    private Platform(String os, String arch, String libc) {
        this.os = os;
        this.arch = arch;
        this.libc = libc;
    }

    /**
     * @param libcOverride value of {@code http-kit.native.libc}, or null to look
     * @throws IllegalArgumentException if the override is neither {@code glibc} nor {@code musl}
     */
    static Platform of(String osName, String osArch, String libcOverride) {
        String os = os(osName);
        return new Platform(os, arch(osArch), os.equals("linux") ? libc(libcOverride) : null);
    }

    /** Directory of this platform in the jar, for example {@code linux-x86_64-musl}. */
    String directory() {
        return os + "-" + arch + ("musl".equals(libc) ? "-musl" : "");
    }

    /** File name of the library on this platform. */
    String fileName() {
        switch (os) {
            case "windows":
                return "httpkit.dll";
            case "macos":
                return "libhttpkit.dylib";
            default:
                return "libhttpkit.so";
        }
    }

    @Override
    public String toString() {
        return "os " + os + ", arch " + arch + (libc == null ? "" : ", libc " + libc);
    }

    private static String os(String osName) {
        String name = osName.toLowerCase(Locale.ROOT);
        if (name.contains("linux")) {
            return "linux";
        }
        if (name.contains("mac") || name.contains("darwin")) {
            return "macos";
        }
        return name.contains("windows") ? "windows" : name.replace(' ', '-');
    }

    private static String arch(String osArch) {
        switch (osArch.toLowerCase(Locale.ROOT)) {
            case "amd64":
            case "x86_64":
            case "x64":
                return "x86_64";
            case "arm64":
            case "aarch64":
                return "aarch64";
            default:
                return osArch;
        }
    }

    private static String libc(String override) {
        if (override == null) {
            return detectLibc();
        }
        if (override.equals("glibc") || override.equals("musl")) {
            return override;
        }
        throw new IllegalArgumentException(
                "http-kit.native.libc is \"" + override + "\"; it can be glibc or musl");
    }

    private static String detectLibc() {
        try {
            String interpreter = elfInterpreter(Paths.get("/proc/self/exe"));
            if (interpreter != null) {
                return interpreter.contains("ld-musl") ? "musl" : "glibc";
            }
        } catch (IOException unreadable) {
            // A Java without /proc/self/exe (some sandboxes) may still show its mappings.
        }
        return mapsMusl() ? "musl" : "glibc";
    }

    private static boolean mapsMusl() {
        try {
            String maps =
                    new String(
                            Files.readAllBytes(Paths.get("/proc/self/maps")),
                            StandardCharsets.ISO_8859_1);
            return maps.contains("/ld-musl-") || maps.contains("/libc.musl-");
        } catch (IOException unreadable) {
            return false;
        }
    }

    /**
     * Path of the dynamic loader that a 64-bit ELF file asks for.
     *
     * @return null if the file is not a 64-bit ELF file, or is linked statically
     */
    static String elfInterpreter(Path file) throws IOException {
        try (SeekableByteChannel channel = Files.newByteChannel(file)) {
            ByteBuffer head = read(channel, 0, 64);
            if (head.remaining() < 64 || head.getInt(0) != 0x7f454c46 || head.get(4) != 2) {
                return null;
            }
            ByteOrder order = head.get(5) == 2 ? ByteOrder.BIG_ENDIAN : ByteOrder.LITTLE_ENDIAN;
            head.order(order);
            long tableOffset = head.getLong(32);
            int entrySize = head.getShort(54) & 0xffff;
            int entries = head.getShort(56) & 0xffff;
            for (int i = 0; i < entries; i++) {
                ByteBuffer entry =
                        read(channel, tableOffset + (long) i * entrySize, 56).order(order);
                if (entry.remaining() == 56 && entry.getInt(0) == PT_INTERP) {
                    long size = Math.min(entry.getLong(32), 4096);
                    ByteBuffer path = read(channel, entry.getLong(8), (int) size);
                    return StandardCharsets.ISO_8859_1.decode(path).toString().replace("\0", "");
                }
            }
            return null;
        }
    }

    private static ByteBuffer read(SeekableByteChannel channel, long position, int length)
            throws IOException {
        ByteBuffer into = ByteBuffer.allocate(length);
        channel.position(position);
        while (into.hasRemaining() && channel.read(into) >= 0) {
            // Short reads are allowed; the end of the file is not an error here.
        }
        into.flip();
        return into;
    }
}
