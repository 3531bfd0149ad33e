package org.httpkit.jni;

import java.io.File;
import java.io.IOException;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.DirectoryIteratorException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A directory that libraries are unpacked into, and loaded from.
 *
 * <p>Loading a file runs its code, so a directory is used only if no other user can put a file, or
 * another directory, in its place. A file's name holds its hash, so a file is written once and
 * never changed: processes that start together write the same bytes, each under a name of its own,
 * and the last rename wins.
 */
final class LibraryCache {
    private enum Kind {
        /** Named by the user, who is responsible for its permissions and contents. */
        CHOSEN,
        /** Private, under a fixed name, so that later JVMs find the file there. */
        KEPT,
        /** Private, under a name that did not exist before; removed once the library is loaded. */
        FRESH
    }

    private static final boolean POSIX = Access.POSIX;

    private final Kind kind;

    /** No Path yet: with LC_ALL=C, none can be made of a name that is not ASCII. */
    private final File place;

    /** The real path of {@link #place}, once it has been checked. */
    private Path directory;

    private LibraryCache(Kind kind, File place) {
        this.kind = kind;
        this.place = place;
    }

    /**
     * Where to unpack, best first.
     *
     * @param override value of {@code http-kit.native.dir}: the only candidate, if not null
     */
    static List<LibraryCache> candidates(String override) {
        List<LibraryCache> found = new ArrayList<>();
        if (override != null) {
            found.add(new LibraryCache(Kind.CHOSEN, new File(override)));
            return found;
        }
        String xdg = System.getenv("XDG_CACHE_HOME");
        String home = System.getProperty("user.home", "");
        if (xdg != null && new File(xdg).isAbsolute()) {
            found.add(new LibraryCache(Kind.KEPT, new File(xdg, "http-kit")));
        } else if (new File(home).isAbsolute()) {
            found.add(new LibraryCache(Kind.KEPT, new File(new File(home, ".cache"), "http-kit")));
        }
        String named = System.getProperty("java.io.tmpdir");
        // A File in "" would be in the root directory.
        File temporary = new File(named.isEmpty() ? "." : named);
        // By id: Java calls every user without a name "?".
        found.add(new LibraryCache(Kind.KEPT, new File(temporary, "http-kit-" + Access.user())));
        // Another user could create that directory first, but not this one.
        found.add(new LibraryCache(Kind.FRESH, temporary));
        return found;
    }

    /**
     * The file with that name and those bytes, written unless it exists.
     *
     * <p>An existing file is compared byte by byte: on a JVM that has just started, that takes a
     * tenth of the time of a SHA-256.
     *
     * @param sha256 what the bytes must hash to, checked before they are written
     * @throws IOException with a message that says what is wrong with the directory or the bytes
     */
    Path provide(String name, byte[] library, String sha256) throws IOException {
        prepareDirectory();
        try {
            return fileIn(directory, name, library, sha256);
        } catch (IOException e) {
            if (kind == Kind.FRESH) {
                Files.deleteIfExists(directory);
            }
            throw e;
        }
    }

    private Path fileIn(Path directory, String name, byte[] library, String sha256)
            throws IOException {
        Path file = directory.resolve(name);
        if (holds(file, library)) {
            markUsed(file);
            return file;
        }
        if (!sha256.equals(sha256(library))) {
            throw new IOException(
                    "the class path's library does not have the hash that its index names: "
                            + sha256);
        }
        write(file, library);
        return file;
    }

    /**
     * Cleans up after an attempt to load a file from {@link #provide}.
     *
     * @param reusable whether a later JVM looks for this name
     */
    void release(Path file, boolean reusable) {
        try {
            // A loaded library stays usable after its file is deleted; where it does not, as on
            // Windows, the file stays.
            if (POSIX && (kind == Kind.FRESH || !reusable)) {
                Files.deleteIfExists(file);
            }
            if (POSIX && kind == Kind.FRESH) {
                Files.delete(directory);
            }
            if (kind == Kind.KEPT) {
                StaleLibraries.remove(directory, file);
            }
        } catch (IOException | DirectoryIteratorException e) {
            // A leftover file is no reason to fail: the library is loaded, or another error is
            // being reported.
        }
    }

    private void prepareDirectory() throws IOException {
        Path path = path();
        if (kind == Kind.FRESH) {
            Path made = path.resolve(Access.newName("http-kit-"));
            Files.createDirectory(made, mode("rwx------"));
            try {
                directory = Access.requirePrivate(made);
            } catch (IOException e) {
                Files.deleteIfExists(made);
                throw e;
            }
            return;
        }
        if (!Files.isDirectory(path)) {
            Files.createDirectories(path, mode("rwx------"));
        }
        directory = kind == Kind.CHOSEN ? path.toRealPath() : Access.requirePrivate(path);
    }

    private Path path() throws IOException {
        try {
            return place.toPath().toAbsolutePath();
        } catch (InvalidPathException e) {
            throw new IOException(e.getReason(), e);
        }
    }

    private boolean holds(Path file, byte[] library) throws IOException {
        return Access.isTrusted(file, kind == Kind.CHOSEN)
                && Files.size(file) == library.length
                && Arrays.equals(Files.readAllBytes(file), library);
    }

    private void markUsed(Path file) {
        if (kind == Kind.KEPT) {
            try {
                Files.setLastModifiedTime(file, FileTime.fromMillis(System.currentTimeMillis()));
            } catch (IOException readOnly) {
                // Then no start can remove the file either.
            }
        }
    }

    private void write(Path file, byte[] library) throws IOException {
        Path temporary = directory.resolve(Access.newName(".unpack") + ".tmp");
        Files.createFile(temporary, mode("rwx------"));
        try {
            Files.write(temporary, library);
            rename(temporary, file);
        } finally {
            Files.deleteIfExists(temporary);
        }
    }

    private static void rename(Path from, Path to) throws IOException {
        try {
            Files.move(from, to, StandardCopyOption.ATOMIC_MOVE);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
        }
    }

    private static FileAttribute<?>[] mode(String permissions) {
        if (!POSIX) {
            return new FileAttribute<?>[0];
        }
        return new FileAttribute<?>[] {
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(permissions))
        };
    }

    static String sha256(byte[] bytes) {
        StringBuilder hex = new StringBuilder(64);
        try {
            for (byte b : MessageDigest.getInstance("SHA-256").digest(bytes)) {
                hex.append(Character.forDigit((b >> 4) & 15, 16))
                        .append(Character.forDigit(b & 15, 16));
            }
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
        return hex.toString();
    }

    @Override
    public String toString() {
        File absolute = place.getAbsoluteFile();
        switch (kind) {
            case CHOSEN:
                return "http-kit.native.dir=" + absolute;
            case FRESH:
                return new File(absolute, "http-kit-*").toString();
            default:
                return absolute.toString();
        }
    }
}
