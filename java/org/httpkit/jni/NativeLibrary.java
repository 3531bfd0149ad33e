package org.httpkit.jni;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
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
 * <p>The library is a resource, {@code /native/<os>-<arch>[-musl]/<file>}, listed with its SHA-256
 * in {@code /native/httpkit.properties}. It is unpacked into a private directory under a name with
 * its hash, and reused by later JVMs. A JVM loads a file for one class loader only: a second one
 * loads a copy, which is deleted once it is loaded.
 *
 * <p>System properties: {@code http-kit.native.path} (load this file, look nowhere else; a copy if
 * its mount is noexec, and for a further class loader), {@code http-kit.native.dir} (unpack here;
 * default: {@code http-kit} in the user's cache directory, then {@code java.io.tmpdir}), {@code
 * http-kit.native.libc} ({@code glibc} or {@code musl}). An empty one is as if not given.
 *
 * <p>While the library loads, its native side looks up {@link Native}, and so waits until that
 * class is initialised. A thread must therefore initialise Native before it takes the loading lock.
 * In the other order it could deadlock with a thread that started with a call to Native.
 *
 * <p>Not API.
 */
public final class NativeLibrary {
    private static final String INDEX = "/native/httpkit.properties";

    /**
     * Prefix of a number taken by a class loader that has loaded the library or is about to. The
     * first copy has number 0 and the plain name. The native side releases a number when its loader
     * is collected, so that a JVM that loads repeatedly does not use up names. Each may cost
     * memory: the C library keeps an image while a thread lives that has left data in it.
     */
    private static final String TAKEN = "http-kit.native.loader.";

    /** Frames of {@link #requireStack}, half as much again as loading was seen to take. */
    private static final int FRAMES = 420;

    private static final String NOT_LOADED = "the native library could not be loaded";

    private static volatile Map<String, Object> loaded;

    private NativeLibrary() {}

    /**
     * Loads the library unless this class loader already has. Any thread may call it repeatedly;
     * after a failure the next call tries again.
     *
     * @throws UnsatisfiedLinkError with one message: what was looked for, where, what the jar
     *     contains, how to override
     * @throws StackOverflowError if there is hardly any stack left; nothing has begun then
     */
    public static void load() {
        if (loaded == null) {
            requireStack(FRAMES);
            Native.initialise();
            loadOnce();
        }
    }

    /**
     * Overflows the stack here if that would happen later: a class whose initialiser it interrupts
     * can never be used again.
     */
    private static int requireStack(int frames) {
        return frames == 0 ? 0 : 1 + requireStack(frames - 1);
    }

    /** For the static initialiser, which runs only once, so a failure must not surface there. */
    static void loadFromNative() {
        try {
            loadOnce();
        } catch (Throwable t) {
            // The caller of `load` tries again now, and gets the failure.
        }
    }

    /**
     * What was loaded: the jar's {@code version}, {@code file}, {@code platform} and {@code libc}
     * (null except on Linux). Loads the library if necessary.
     */
    public static Map<String, Object> info() {
        load();
        return loaded;
    }

    /** For Clojure code: Clojure 1.9 cannot call the static method of an interface. */
    public static long processId() {
        return ProcessHandle.current().pid();
    }

    private static synchronized void loadOnce() {
        if (loaded == null) {
            loaded = new Attempt().run();
        }
    }

    /** One attempt, with its findings for the message. */
    private static final class Attempt {
        private final List<String> tried = new ArrayList<>();
        private final Properties index = readIndex();
        private Platform platform;

        Map<String, Object> run() {
            try {
                platform =
                        Platform.of(
                                System.getProperty("os.name"),
                                System.getProperty("os.arch"),
                                property("http-kit.native.libc"));
            } catch (IllegalArgumentException e) {
                throw failure(e.getMessage(), e);
            }
            String path = property("http-kit.native.path");
            int number = takeNumber();
            Path file = null;
            try {
                Path opened = path == null ? loadResource(number) : loadFile(named(path), number);
                register(number, path);
                file = opened;
            } catch (IllegalCallerException e) {
                // From JDK 24 on, with --illegal-native-access=deny.
                throw failure(
                        "this JVM does not let the class path load native code ("
                                + e.getMessage()
                                + "): start java with --enable-native-access=ALL-UNNAMED, or put"
                                + " \"Enable-Native-Access: ALL-UNNAMED\" into the manifest of the"
                                + " jar that java -jar runs",
                        e);
            } finally {
                if (file == null) {
                    System.clearProperty(TAKEN + number);
                }
            }
            return describe(file);
        }

        /**
         * @param path of the file that was named; null for one of our own
         */
        private void register(int number, String path) {
            try {
                Native.loaderNumber(number);
            } catch (UnsatisfiedLinkError e) {
                if (path == null) {
                    throw e;
                }
                throw failure(
                        "http-kit.native.path names " + path + ", which is another library", e);
            }
        }

        private Path named(String path) {
            try {
                return Paths.get(path).toAbsolutePath();
            } catch (InvalidPathException e) {
                throw failure(
                        "http-kit.native.path names "
                                + path
                                + ", which cannot be read ("
                                + e.getReason()
                                + ")",
                        e);
            }
        }

        private Path loadFile(Path file, int number) {
            if (!Files.isReadable(file)) {
                throw failure(
                        "http-kit.native.path names " + file + ", which cannot be read", null);
            }
            UnsatisfiedLinkError reason = null;
            if (number == 0) {
                try {
                    return loadNow(file);
                } catch (UnsatisfiedLinkError e) {
                    String remark = Mounts.remark(file);
                    tried.add(file + ": " + e.getMessage() + remark);
                    // Otherwise a copy can be loaded.
                    if (remark.isEmpty() && !isLoadedElsewhere(e)) {
                        throw failure(NOT_LOADED, e);
                    }
                    reason = e;
                }
            }
            try {
                byte[] library = Files.readAllBytes(file);
                String sha256 = LibraryCache.sha256(library);
                return loadFromCache(library, sha256, copyName(sha256, number), false, reason);
            } catch (IOException e) {
                throw failure(file + " cannot be read (" + e + ")", e);
            }
        }

        private Path loadResource(int number) {
            String entry = platform.directory() + "/" + platform.fileName();
            String sha256 = index.getProperty(entry);
            if (sha256 == null) {
                throw failure("there is no native library for this platform", null);
            }
            byte[] library = readLibrary("/native/" + entry);
            return number == 0
                    ? loadFromCache(library, sha256, name(sha256, ""), true, null)
                    : loadFromCache(library, sha256, copyName(sha256, number), false, null);
        }

        /**
         * @param reusable whether a later JVM looks for this name
         */
        private Path loadFromCache(
                byte[] library,
                String sha256,
                String name,
                boolean reusable,
                UnsatisfiedLinkError reason) {
            for (LibraryCache cache : LibraryCache.candidates(property("http-kit.native.dir"))) {
                try {
                    Path file = cache.provide(name, library, sha256);
                    try {
                        return loadNow(file);
                    } catch (UnsatisfiedLinkError e) {
                        tried.add(cache + ": " + e.getMessage() + Mounts.remark(file.getParent()));
                        reason = reason == null ? e : reason;
                    } finally {
                        cache.release(file, reusable);
                    }
                } catch (IOException e) {
                    tried.add(cache + ": " + e);
                }
            }
            throw failure(NOT_LOADED, reason);
        }

        /** Only the JDK's message tells. */
        private static boolean isLoadedElsewhere(UnsatisfiedLinkError e) {
            return String.valueOf(e.getMessage()).contains("already loaded in another");
        }

        private Path loadNow(Path file) {
            System.load(file.toString());
            return file;
        }

        /** Includes the process id: other JVMs write their copies into the same directory. */
        private String copyName(String sha256, int number) {
            return name(sha256, "-copy" + number + "-" + processId());
        }

        private String name(String sha256, String suffix) {
            String file = platform.fileName();
            int dot = file.lastIndexOf('.');
            return file.substring(0, dot)
                    + "-"
                    + index.getProperty("version", "unknown")
                    + "-"
                    + sha256.substring(0, 32)
                    + suffix
                    + file.substring(dot);
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
            StringBuilder message =
                    new StringBuilder("http-kit: ").append(what).append(".\n  looked for: ");
            message.append(
                    platform == null
                            ? "(unknown platform)"
                            : platform.directory() + " (" + platform + ")");
            message.append("\n  tried: ")
                    .append(tried.isEmpty() ? "nothing" : String.join("\n         ", tried));
            message.append("\n  the class path holds: ").append(held());
            message.append(
                    "\n"
                            + "  to override: -Dhttp-kit.native.path=<library file>,"
                            + " -Dhttp-kit.native.dir=<directory to unpack into, on a mount without"
                            + " noexec>, -Dhttp-kit.native.libc=glibc|musl");
            UnsatisfiedLinkError error = new UnsatisfiedLinkError(message.toString());
            if (cause != null) {
                // Not as its cause: Clojure's REPL only shows the innermost cause, without this
                // message.
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
                    ? "no native library (no "
                            + INDEX
                            + "): a checkout must be built (`gradle prep`), and a no-natives jar"
                            + " needs -Dhttp-kit.native.path"
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

    /** Null also if it is empty, as from an unset variable of a script that starts java. */
    private static String property(String name) {
        String value = System.getProperty(name, "");
        return value.isEmpty() ? null : value;
    }

    private static Properties readIndex() {
        Properties index = new Properties();
        try (InputStream in = NativeLibrary.class.getResourceAsStream(INDEX)) {
            if (in != null) {
                index.load(in);
            }
        } catch (IOException e) {
            // Same outcome as no index: the failure's message says so, and what to do.
            index.clear();
        }
        return index;
    }

    /** Takes the first free number; all class loaders share the JVM's system Properties. */
    private static int takeNumber() {
        int number = 0;
        while (System.getProperties().putIfAbsent(TAKEN + number, "taken") != null) {
            number++;
        }
        return number;
    }
}
