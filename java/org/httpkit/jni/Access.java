package org.httpkit.jni;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.security.SecureRandom;
import java.util.Map;

/** Which users can change what a path leads to, by POSIX owners and modes. */
final class Access {
    static final boolean POSIX =
            Paths.get("").getFileSystem().supportedFileAttributeViews().contains("unix");

    private static final int ROOT = 0;
    private static final int TYPE = 0170000;
    private static final int DIRECTORY = 0040000;
    private static final int REGULAR = 0100000;
    private static final int STICKY = 01000;
    private static final int WRITE_OF_OTHERS = 0022;

    private static final int USER = POSIX ? readUser() : -1;

    private Access() {}

    /** The id of the user that this process runs as. */
    static String user() {
        return Integer.toUnsignedString(USER);
    }

    /**
     * The directory's real path, if only this user (and the administrator) can change what is in it
     * and what its path leads to.
     *
     * <p>Checks from the root down, so that a checked part cannot change: not a link, owned by this
     * user or the administrator, and not writable by others. Others may write where only owners can
     * rename or delete files (the sticky bit of /tmp), but not in the directory itself.
     *
     * @throws FileSystemException naming the first directory that others can change
     */
    static Path requirePrivate(Path directory) throws IOException {
        Path real = directory.toRealPath();
        if (!POSIX) {
            return real;
        }
        // In a container that maps only its own user, root has another id; / still belongs to root.
        int administrator = owner(attributes(real.getRoot()));
        for (int depth = 0; depth <= real.getNameCount(); depth++) {
            Path at = depth == 0 ? real.getRoot() : real.getRoot().resolve(real.subpath(0, depth));
            Map<String, Object> found = attributes(at);
            boolean itself = depth == real.getNameCount();
            int owner = owner(found);
            boolean trusted = owner == USER || !itself && (owner == ROOT || owner == administrator);
            boolean stays =
                    (mode(found) & WRITE_OF_OTHERS) == 0 || !itself && (mode(found) & STICKY) != 0;
            if ((mode(found) & TYPE) != DIRECTORY || !trusted || !stays) {
                throw new FileSystemException(
                        at.toString(), null, "other users can change what is there");
            }
        }
        return real;
    }

    /**
     * Whether a file is a regular one, not a link, that no other user can write.
     *
     * @param shared whether to accept the administrator's files, whatever their mode
     */
    static boolean isTrusted(Path file, boolean shared) throws IOException {
        if (!Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS)) {
            return false;
        }
        if (!POSIX) {
            return true;
        }
        Map<String, Object> found = attributes(file);
        if ((mode(found) & TYPE) != REGULAR) {
            return false;
        }
        return shared
                ? owner(found) == USER || owner(found) == ROOT
                : owner(found) == USER && (mode(found) & WRITE_OF_OTHERS) == 0;
    }

    /**
     * An unguessable name for a new file.
     *
     * <p>{@link Files#createTempFile} fails in every directory if no Path can be made of {@code
     * java.io.tmpdir}.
     */
    static String newName(String prefix) {
        return prefix + Long.toUnsignedString(new SecureRandom().nextLong());
    }

    private static Map<String, Object> attributes(Path path) throws IOException {
        return Files.readAttributes(path, "unix:uid,mode", LinkOption.NOFOLLOW_LINKS);
    }

    private static int owner(Map<String, Object> attributes) {
        return (Integer) attributes.get("uid");
    }

    private static int mode(Map<String, Object> attributes) {
        return (Integer) attributes.get("mode");
    }

    /**
     * From /proc, or else as the owner of a file that this process creates; -1, which owns nothing,
     * if neither works.
     */
    private static int readUser() {
        try {
            // Not the owner of /proc/self: that is root where a process has capabilities.
            String text =
                    new String(
                            Files.readAllBytes(Paths.get("/proc/self/status")),
                            StandardCharsets.ISO_8859_1);
            int ids = text.indexOf("\nUid:\t");
            if (ids >= 0) {
                // Real, effective, saved, file system.
                return Integer.parseUnsignedInt(
                        text.substring(ids + 6, text.indexOf('\n', ids + 6)).split("\t")[1]);
            }
        } catch (IOException noLinux) {
            // Next way.
        }
        try {
            Path made = Paths.get(System.getProperty("java.io.tmpdir"), newName("http-kit-"));
            Files.createFile(made);
            try {
                return owner(attributes(made));
            } finally {
                Files.delete(made);
            }
        } catch (IOException | InvalidPathException e) {
            return -1;
        }
    }
}
