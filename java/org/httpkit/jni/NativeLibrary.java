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
import java.util.function.Supplier;

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
     * What was loaded: {@code version} and {@code profile} of the build, {@code file}, {@code platform}
     * and {@code libc} (null but on Linux). Loads the library if need be.
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
            return describe(path == null ? loadResource() : loadFile(Paths.get(path).toAbsolutePath()));
        }

        private Path loadFile(Path file) {
            byte[] library;
            try {
                library = Files.readAllBytes(file);
            } catch (IOException e) {
                throw failure("http-kit.native.path names " + file + ", which cannot be read (" + e + ")", e);
            }
            return loadCounted(file, LibraryCache.sha256(library), () -> library);
        }

        private Path loadResource() {
            String entry = platform.directory() + "/" + platform.fileName();
            String sha256 = index.getProperty(entry);
            if (sha256 == null) {
                throw failure("there is no native library for this platform", null);
            }
            return loadCounted(null, sha256, () -> readLibrary("/native/" + entry, sha256));
        }

        /** @param given file to load as it is, or null to unpack first */
        private Path loadCounted(Path given, String sha256, Supplier<byte[]> library) {
            countLoaders(1);
            Path file = null;
            try {
                file = loadUnderFreeName(given, sha256, library);
            } finally {
                if (file == null) {
                    countLoaders(-1);
                }
            }
            return file;
        }

        private Path loadUnderFreeName(Path given, String sha256, Supplier<byte[]> library) {
            UnsatisfiedLinkError first = null;
            if (given != null) {
                try {
                    return loadNow(given);
                } catch (UnsatisfiedLinkError e) {
                    tried.add(given + ": " + e.getMessage());
                    first = e;
                }
            }
            // Read anew each time: a loader that took our name has counted itself by now.
            for (int copy = given == null ? 0 : 1; copy < countLoaders(0); copy++) {
                for (LibraryCache cache : LibraryCache.candidates(System.getProperty("http-kit.native.dir"))) {
                    try {
                        return loadNow(cache.provide(name(sha256, copy), sha256, library));
                    } catch (UnsatisfiedLinkError e) {
                        tried.add(cache.directory + ": " + e.getMessage());
                        first = first == null ? e : first;
                    } catch (IOException e) {
                        tried.add(cache.directory + ": " + e);
                    }
                }
            }
            throw failure("the native library could not be loaded", first);
        }

        private Path loadNow(Path file) {
            try {
                System.load(file.toString());
                return file;
            } catch (UnsatisfiedLinkError e) {
                throw e;
            } catch (RuntimeException e) {
                // IllegalCallerException, from JDK 24 on with --illegal-native-access=deny.
                throw failure("this JVM does not let the class path load native code (" + e.getMessage()
                        + "): start java with --enable-native-access=ALL-UNNAMED, or put"
                        + " \"Enable-Native-Access: ALL-UNNAMED\" into the manifest of the jar that java -jar runs",
                        e);
            }
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
            info.put("profile", index.getProperty("profile"));
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
            error.initCause(cause);
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

        private byte[] readLibrary(String resource, String sha256) {
            try (InputStream in = NativeLibrary.class.getResourceAsStream(resource)) {
                if (in == null) {
                    throw failure(INDEX + " lists " + resource + ", but it is not there", null);
                }
                byte[] library = in.readAllBytes();
                if (!sha256.equals(LibraryCache.sha256(library))) {
                    throw failure(resource + " is damaged: it does not have the hash that " + INDEX + " says", null);
                }
                return library;
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

    /** Adds to the count of {@link #LOADERS} and returns it; Properties is the one map all loaders share. */
    private static int countLoaders(int more) {
        Object count = System.getProperties().compute(LOADERS, (key, old) -> {
            int sum = (old == null ? 0 : Integer.parseInt(old.toString())) + more;
            return sum <= 0 ? null : Integer.toString(sum);
        });
        return count == null ? 0 : Integer.parseInt(count.toString());
    }
}
