package org.httpkit.jni;

import java.io.IOException;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFileAttributes;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * A private directory with unpacked libraries, shared by every JVM of one user.
 *
 * <p>A file's name holds its hash, so a file is written once and never changed: processes that start
 * together write the same bytes, each under a name of its own, and the last rename wins. Nothing is
 * deleted at exit; another JVM may be about to load it.
 */
final class LibraryCache {
    private static final boolean POSIX =
            Paths.get("").getFileSystem().supportedFileAttributeViews().contains("posix");

    final Path directory;

    /** Whether the user named the directory: then its permissions are the user's affair. */
    private final boolean chosen;

    private LibraryCache(Path directory, boolean chosen) {
        this.directory = directory;
        this.chosen = chosen;
    }

    /**
     * Where to unpack, best first.
     *
     * @param override value of {@code http-kit.native.dir}: the only candidate, if not null
     */
    static List<LibraryCache> candidates(String override) {
        List<LibraryCache> found = new ArrayList<>();
        if (override != null) {
            found.add(new LibraryCache(Paths.get(override).toAbsolutePath(), true));
            return found;
        }
        String xdg = System.getenv("XDG_CACHE_HOME");
        String home = System.getProperty("user.home", "");
        if (xdg != null && Paths.get(xdg).isAbsolute()) {
            found.add(new LibraryCache(Paths.get(xdg, "http-kit"), false));
        } else if (Paths.get(home).isAbsolute()) {
            found.add(new LibraryCache(Paths.get(home, ".cache", "http-kit"), false));
        }
        // The user's name keeps two users of one machine out of each other's way.
        String user = System.getProperty("user.name", "user").replaceAll("[^A-Za-z0-9._-]", "_");
        found.add(new LibraryCache(Paths.get(System.getProperty("java.io.tmpdir"), "http-kit-" + user), false));
        return found;
    }

    /**
     * The file of that name with those bytes, written if it is not there already.
     *
     * <p>What is there is compared byte by byte: on a JVM that has just started, that takes a tenth of
     * the time of a SHA-256.
     *
     * @param sha256 what the bytes must hash to, checked before they are written
     * @throws IOException with a message that says what is wrong with the directory or the bytes
     */
    Path provide(String name, byte[] library, String sha256) throws IOException {
        Path file = directory.resolve(name);
        if (isOurs(file) && Files.size(file) == library.length && Arrays.equals(Files.readAllBytes(file), library)) {
            return file;
        }
        if (!sha256.equals(sha256(library))) {
            throw new IOException("the class path's library does not have the hash that its index names: " + sha256);
        }
        prepareDirectory();
        write(file, library);
        return file;
    }

    private void prepareDirectory() throws IOException {
        Files.createDirectories(directory.getParent());
        if (!Files.isDirectory(directory)) {
            createPrivate();
        }
        if (!chosen && POSIX) {
            requirePrivate();
        }
    }

    private void createPrivate() throws IOException {
        try {
            Files.createDirectory(directory, mode("rwx------"));
        } catch (IOException e) {
            // Another JVM may have been first.
            if (!Files.isDirectory(directory)) {
                throw e;
            }
        }
    }

    /** Whoever may write here could swap the file between our check and the load. */
    private void requirePrivate() throws IOException {
        PosixFileAttributes attributes =
                Files.readAttributes(directory, PosixFileAttributes.class, LinkOption.NOFOLLOW_LINKS);
        Set<PosixFilePermission> permissions = attributes.permissions();
        if (!attributes.isDirectory()
                || permissions.contains(PosixFilePermission.GROUP_WRITE)
                || permissions.contains(PosixFilePermission.OTHERS_WRITE)) {
            throw new FileSystemException(directory.toString(), null, "not a directory that only its owner can write");
        }
    }

    private void write(Path file, byte[] library) throws IOException {
        Path temporary = POSIX
                ? Files.createTempFile(directory, ".unpack", null, mode("rwx------"))
                : Files.createTempFile(directory, ".unpack", null);
        try {
            Files.write(temporary, library);
            if (!chosen && POSIX && !Files.getOwner(temporary).equals(Files.getOwner(directory))) {
                throw new FileSystemException(directory.toString(), null, "belongs to somebody else");
            }
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

    /** A file of another user is written anew, since that user could change it after our check. */
    private static boolean isOurs(Path file) throws IOException {
        if (!Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        Path self = Paths.get("/proc/self");
        if (!POSIX || !Files.exists(self)) {
            return true;
        }
        Object owner = Files.getAttribute(file, "unix:uid", LinkOption.NOFOLLOW_LINKS);
        return owner.equals(0) || owner.equals(Files.getAttribute(self, "unix:uid"));
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
                hex.append(Character.forDigit((b >> 4) & 15, 16)).append(Character.forDigit(b & 15, 16));
            }
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
        return hex.toString();
    }
}
