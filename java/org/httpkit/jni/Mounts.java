package org.httpkit.jni;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.Arrays;

/** Why code on a file system cannot be run: on Linux, its mount may forbid that. */
final class Mounts {
    private static final Path TABLE = Paths.get("/proc/self/mountinfo");

    private Mounts() {}

    /**
     * A remark on the mount of a file or directory, to follow the linker's message; empty unless it
     * forbids to run code.
     */
    static String remark(Path path) {
        try {
            Path real = path.toRealPath();
            Path mount = null;
            boolean forbidden = false;
            for (String line :
                    new String(Files.readAllBytes(TABLE), StandardCharsets.UTF_8).split("\n")) {
                // Id, parent, device, root, mount point, options.
                String[] fields = line.split(" ");
                Path point = fields.length < 6 ? null : Paths.get(unescaped(fields[4]));
                // A later mount on the same directory hides the earlier one.
                if (point != null
                        && real.startsWith(point)
                        && (mount == null || point.startsWith(mount))) {
                    mount = point;
                    forbidden = Arrays.asList(fields[5].split(",")).contains("noexec");
                }
            }
            return forbidden ? " (" + mount + " is mounted noexec)" : "";
        } catch (IOException | InvalidPathException noTable) {
            // Only a remark is lost.
            return "";
        }
    }

    /** Blanks and the like are written as three octal digits behind a backslash. */
    private static String unescaped(String field) {
        return field.replace("\\040", " ")
                .replace("\\011", "\t")
                .replace("\\012", "\n")
                .replace("\\134", "\\");
    }
}
