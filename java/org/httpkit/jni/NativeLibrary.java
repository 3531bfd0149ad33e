package org.httpkit.jni;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeSet;

/**
 * Loads the native library, once per class loader.
 *
 * <p>The library is a resource, {@code /native/<os>-<arch>[-musl]/<file>}, listed with its SHA-256 in
 * {@code /native/httpkit.properties}. It is unpacked into a private directory under a name with its
 * hash, and reused by later JVMs.
 *
 * <p>System properties: {@code http-kit.native.path} (load this file, look nowhere else),
 * {@code http-kit.native.dir} (unpack here; default: {@code http-kit} in the user's cache directory,
 * then {@code java.io.tmpdir}), {@code http-kit.native.libc} ({@code glibc} or {@code musl}).
 *
 * <p>Not API.
 */
public final class NativeLibrary {
    private static final String INDEX = "/native/httpkit.properties";

    /**
     * Counts, for the whole JVM, the class loaders that have loaded a file or are about to. One file
     * can be loaded by one loader only; with n of them, one of the names 0 to n must be free.
     */
    private static final String LOADERS = "http-kit.native.loaders";

    private static volatile Map<String, Object> loaded;

    private NativeLibrary() {}

    /**
     * Loads the library unless this class loader has it already. Any thread may call it, any number of
     * times; after a failure the next call tries again.
     *
     * @throws UnsatisfiedLinkError with one message: what was looked for, where, what the jar holds,
     *     how to override
     */
    public static void load() {
        if (loaded == null) {
            loadOnce();
        }
    }

    /**
     * What was loaded: {@code version} that the jar gives, {@code file}, {@code platform} and {@code libc}
     * (null but on Linux). Loads the library if need be.
     */
    public static Map<String, Object> info() {
        load();
        return loaded;
    }

    private static synchronized void loadOnce() {
        if (loaded == null) {
            loaded = new Attempt().run();
        }
    }

    /** One try, with what it learnt on its way for the message. */
    private static final class Attempt {
        private final List<String> tried = new ArrayList<>();
        private final Properties index = readIndex();
        private Platform platform;

        Map<String, Object> run() {
            try {
                platform = Platform.of(
                        System.getProperty("os.name"),
                        System.getProperty("os.arch"),
                        System.getProperty("http-kit.native.libc"));
            } catch (IllegalArgumentException e) {
                throw failure(e.getMessage(), e);
            }
            String path = System.getProperty("http-kit.native.path");
            countLoaders(1);
            Path file = null;
            try {
                file = path == null ? loadResource() : loadFile(Paths.get(path).toAbsolutePath());
            } catch (IllegalCallerException e) {
                // From JDK 24 on, with --illegal-native-access=deny.
                throw failure("this JVM does not let the class path load native code (" + e.getMessage()
                        + "): start java with --enable-native-access=ALL-UNNAMED, or put"
                        + " \"Enable-Native-Access: ALL-UNNAMED\" into the manifest of the jar that java -jar runs",
                        e);
            } finally {
                if (file == null) {
                    countLoaders(-1);
                }
            }
            return describe(file);
        }

        private Path loadFile(Path file) {
            if (!Files.isReadable(file)) {
                throw failure("http-kit.native.path names " + file + ", which cannot be read", null);
            }
            try {
                return loadNow(file);
            } catch (UnsatisfiedLinkError e) {
                return loadCopyOf(file, e);
            }
        }

        /** The file itself failed; unless another class loader has it, so will its copy. */
        private Path loadCopyOf(Path file, UnsatisfiedLinkError reason) {
            tried.add(file + ": " + reason.getMessage());
            try {
                byte[] library = Files.readAllBytes(file);
                return loadFromCache(library, LibraryCache.sha256(library), 1, reason);
            } catch (IOException e) {
                throw failure(file + " cannot be read (" + e + ")", e);
            }
        }

        private Path loadResource() {
            String entry = platform.directory() + "/" + platform.fileName();
            String sha256 = index.getProperty(entry);
            if (sha256 == null) {
                throw failure("there is no native library for this platform", null);
            }
            return loadFromCache(readLibrary("/native/" + entry), sha256, 0, null);
        }

        /** @param firstCopy 0 to begin with the plain name, 1 if what has that name was tried */
        private Path loadFromCache(byte[] library, String sha256, int firstCopy, UnsatisfiedLinkError reason) {
            List<LibraryCache> caches = LibraryCache.candidates(System.getProperty("http-kit.native.dir"));
            // Counted anew each time: a loader that took our name has counted itself by now.
            for (int copy = firstCopy; copy < countLoaders(0); copy++) {
                for (LibraryCache cache : caches) {
                    try {
                        return loadNow(cache.provide(name(sha256, copy), library, sha256));
                    } catch (UnsatisfiedLinkError e) {
                        tried.add(cache.directory + ": " + e.getMessage());
                        reason = reason == null ? e : reason;
                    } catch (IOException e) {
                        tried.add(cache.directory + ": " + e);
                    }
                }
            }
            throw failure("the native library could not be loaded", reason);
        }

        private Path loadNow(Path file) {
            System.load(file.toString());
            return file;
        }

        private String name(String sha256, int copy) {
            String file = platform.fileName();
            int dot = file.lastIndexOf('.');
            return file.substring(0, dot) + "-" + index.getProperty("version", "unknown") + "-" + sha256.substring(0, 32)
                    + (copy == 0 ? "" : "-copy" + copy) + file.substring(dot);
        }

        private Map<String, Object> describe(Path file) {
            Map<String, Object> info = new LinkedHashMap<>();
            info.put("version", index.getProperty("version"));
            info.put("file", file.toString());
            info.put("platform", platform.directory());
            info.put("libc", platform.libc);
            return Collections.unmodifiableMap(info);
        }

        private UnsatisfiedLinkError failure(String what, Throwable cause) {
            StringBuilder message = new StringBuilder("http-kit: ").append(what).append(".\n  looked for: ");
            message.append(platform == null ? "(unknown platform)" : platform.directory() + " (" + platform + ")");
            message.append("\n  tried: ").append(tried.isEmpty() ? "nothing" : String.join("\n         ", tried));
            message.append("\n  the class path holds: ").append(held());
            message.append("\n  to override: -Dhttp-kit.native.path=<library file>,"
                    + " -Dhttp-kit.native.dir=<directory to unpack into, on a mount without noexec>,"
                    + " -Dhttp-kit.native.libc=glibc|musl");
            UnsatisfiedLinkError error = new UnsatisfiedLinkError(message.toString());
            if (cause != null) {
                // Not as its cause: Clojure's REPL shows the innermost cause only, without this message.
                error.addSuppressed(cause);
            }
            return error;
        }

        private String held() {
            TreeSet<String> platforms = new TreeSet<>();
            for (String key : index.stringPropertyNames()) {
                int slash = key.indexOf('/');
                if (slash > 0) {
                    platforms.add(key.substring(0, slash));
                }
            }
            return platforms.isEmpty()
                    ? "no native library (no " + INDEX + "; in a checkout, `gradle prep` builds it)"
                    : String.join(", ", platforms);
        }

        private byte[] readLibrary(String resource) {
            try (InputStream in = NativeLibrary.class.getResourceAsStream(resource)) {
                if (in == null) {
                    throw failure(INDEX + " lists " + resource + ", but it is not there", null);
                }
                return in.readAllBytes();
            } catch (IOException e) {
                throw failure(resource + " cannot be read (" + e + ")", e);
            }
        }
    }

    private static Properties readIndex() {
        Properties index = new Properties();
        try (InputStream in = NativeLibrary.class.getResourceAsStream(INDEX)) {
            if (in != null) {
                index.load(in);
            }
        } catch (IOException e) {
            // Same outcome as no index: the failure's message says so, and how to go on.
            index.clear();
        }
        return index;
    }

    /** Adds to the count of {@link #LOADERS} and returns it; the one Properties is what all loaders share. */
    private static int countLoaders(int more) {
        Properties shared = System.getProperties();
        synchronized (shared) {
            int count = Integer.parseInt(shared.getProperty(LOADERS, "0")) + more;
            shared.setProperty(LOADERS, Integer.toString(count));
            return count;
        }
    }
}
