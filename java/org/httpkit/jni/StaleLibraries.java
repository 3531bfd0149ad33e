package org.httpkit.jni;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.DirectoryStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/** Removes unpacked libraries of other versions, and partial files of killed JVMs. */
final class StaleLibraries {
    /** Names that {@link NativeLibrary} and {@link LibraryCache} make. */
    private static final Pattern OURS =
            Pattern.compile(
                    "(lib)?httpkit-.+-[0-9a-f]{32}(-copy.*)?\\.(so|dylib|dll)|\\.unpack.*\\.tmp");

    /**
     * A file used more recently than this stays: a JVM may be about to load it, and two versions
     * that are started alternately should not unpack each time.
     */
    private static final long KEPT_MILLIS = TimeUnit.HOURS.toMillis(1);

    /**
     * File systems on which a mapped file stays usable after deletion. No network ones: there,
     * deleting a file that a JVM on another machine has mapped kills that JVM.
     */
    private static final List<String> LOCAL =
            Arrays.asList(
                    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay",
                    "apfs");

    private StaleLibraries() {}

    /**
     * Removes our files from a private directory, unless recently used or loaded by a process.
     *
     * @param current stays
     */
    static void remove(Path directory, Path current) throws IOException {
        try (DirectoryStream<Path> files = Files.newDirectoryStream(directory)) {
            for (Path file : files) {
                if (OURS.matcher(file.getFileName().toString()).matches()
                        && !file.equals(current)
                        && Access.isTrusted(file, false)
                        && Files.getLastModifiedTime(file).toMillis()
                                < System.currentTimeMillis() - KEPT_MILLIS
                        && LOCAL.contains(Files.getFileStore(file).type())
                        && !isLoaded(file)) {
                    Files.deleteIfExists(file);
                }
            }
        }
    }

    /** Whether a process of this user has mapped it. Unknown on a system without /proc. */
    private static boolean isLoaded(Path file) throws IOException {
        Path processes = Paths.get("/proc");
        if (!Files.isDirectory(processes)) {
            return false;
        }
        try (DirectoryStream<Path> found = Files.newDirectoryStream(processes, "[0-9]*")) {
            for (Path process : found) {
                if (maps(process).contains(file.toString())) {
                    return true;
                }
            }
        }
        return false;
    }

    private static String maps(Path process) {
        try {
            return new String(Files.readAllBytes(process.resolve("maps")), StandardCharsets.UTF_8);
        } catch (IOException endedOrAnotherUsers) {
            return "";
        }
    }
}
