package org.httpkit.tls;

import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemNotFoundException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.regex.Pattern;

/** Where keys or certificates are read from: a file, a URL or the class path. Not API. */
public final class Source {
    private static final String CLASS_PATH = "classpath:";

    /** What no path has, but the text that belongs into the file. */
    private static final Pattern TEXT = Pattern.compile("[\\r\\n]|-----BEGIN");

    private static final Pattern USER_INFO = Pattern.compile("://[^/?#]*@");

    private final String shown;

    /** Whether the value holds a password, which the causes of errors would repeat. */
    private final boolean secret;

    /** Null if it is not a file. */
    private final Path path;

    /** Null for a file, and for a name that the class path does not have. */
    private final URL url;

    /**
     * @param option its name, for errors
     * @param value a path as a String, a File, a Path, a URL, or {@code "classpath:name"}
     */
    public Source(String option, Object value) {
        String text = String.valueOf(value);
        String safe = USER_INFO.matcher(text).replaceFirst("://");
        this.shown = option + " \"" + safe + "\"";
        this.secret = !safe.equals(text);
        boolean isName = value instanceof String && text.startsWith(CLASS_PATH);
        if (value instanceof String && !isName || value instanceof File || value instanceof Path) {
            this.url = null;
            this.path = pathOf(option, value);
        } else {
            this.url = value instanceof URL ? (URL) value : resource(option, value);
            this.path = fileOf(url);
        }
    }

    private static Path pathOf(String option, Object value) {
        if (TEXT.matcher(value.toString()).find()) {
            // Without the text, which may be a private key.
            throw new IllegalArgumentException(option + ": expected a path, not PEM text");
        }
        return path(option, value);
    }

    /**
     * A path as a String, a File or a Path.
     *
     * @param option its name, for errors
     */
    public static Path path(String option, Object value) {
        String text = value.toString();
        try {
            return value instanceof Path ? (Path) value : Paths.get(text);
        } catch (InvalidPathException e) {
            boolean ascii = text.chars().allMatch(c -> c < 0x80);
            // Without the text, and so without the cause: it may be what belongs into a file.
            throw new IllegalArgumentException(
                    option
                            + ": not a path here ("
                            + e.getReason()
                            + ")"
                            + (ascii
                                    ? ""
                                    : "; beyond ASCII, the JVM needs a locale such as"
                                            + " LC_ALL=C.UTF-8"));
        }
    }

    private static URL resource(String option, Object value) {
        if (!(value instanceof String)) {
            throw new IllegalArgumentException(
                    option
                            + (value == null ? " nil" : " of class " + value.getClass().getName())
                            + ": expected a path, a File, a URL or \"classpath:...\"");
        }
        String name = ((String) value).substring(CLASS_PATH.length());
        ClassLoader context = Thread.currentThread().getContextClassLoader();
        URL found = context == null ? null : context.getResource(name);
        return found != null ? found : Source.class.getClassLoader().getResource(name);
    }

    private static Path fileOf(URL url) {
        if (url == null || !"file".equals(url.getProtocol())) {
            return null;
        }
        try {
            return Paths.get(url.toURI());
        } catch (URISyntaxException | IllegalArgumentException | FileSystemNotFoundException e) {
            return null; // opened as a URL; only changes of the file are not noticed
        }
    }

    /** The file, to check whether it has changed; null if it is not a file. */
    public Path path() {
        return path;
    }

    /** Reads all of it; every exception names the option. */
    public byte[] read() throws IOException {
        if (path == null && url == null) {
            throw new FileNotFoundException(this + ": the class path does not have it");
        }
        try (InputStream in = path != null ? Files.newInputStream(path) : url.openStream()) {
            return in.readAllBytes();
        } catch (NoSuchFileException | FileNotFoundException e) {
            throw because(new FileNotFoundException(this + ": no such file"), e);
        } catch (AccessDeniedException e) {
            throw because(new FileNotFoundException(this + ": permission denied"), e);
        } catch (IOException e) {
            String why = USER_INFO.matcher(String.valueOf(e.getMessage())).replaceAll("://");
            throw because(new IOException(this + ": " + why), e);
        }
    }

    private IOException because(IOException thrown, Exception cause) {
        return secret ? thrown : (IOException) thrown.initCause(cause);
    }

    /** The option's name and its value. */
    @Override
    public String toString() {
        return shown;
    }
}
