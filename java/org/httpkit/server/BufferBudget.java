package org.httpkit.server;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.util.List;

/**
 * The default of {@code :max-buffered-bytes}: a quarter of the memory that the machine, or the
 * control group of this process, has beyond the heap's maximum.
 */
final class BufferBudget {
    private static final long LEAST = 64L << 20;

    /** Used where the system does not say how much memory there is. */
    private static final long UNKNOWN = -1;

    private static final Path GROUPS = Paths.get("/sys/fs/cgroup");

    private BufferBudget() {}

    static long standard() {
        long heap = Runtime.getRuntime().maxMemory();
        long memory = memory();
        // Elsewhere than on Linux: a quarter of the heap.
        long beyond = memory == UNKNOWN ? heap : memory - heap;
        return Math.max(LEAST, beyond / 4);
    }

    /** In bytes. */
    private static long memory() {
        try {
            long memory = machine();
            for (String line : Files.readAllLines(Paths.get("/proc/self/cgroup"))) {
                memory = least(memory, line);
            }
            return memory;
        } catch (IOException | RuntimeException e) {
            return UNKNOWN; // another system, or one that hides it
        }
    }

    private static long machine() throws IOException {
        for (String line : Files.readAllLines(Paths.get("/proc/meminfo"))) {
            if (line.startsWith("MemTotal:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        return UNKNOWN;
    }

    /**
     * @param line {@code number:controllers:path} of a group; its parents limit it as well
     */
    private static long least(long memory, String line) {
        String[] parts = line.split(":", 3);
        boolean unified = parts.length == 3 && parts[1].isEmpty();
        boolean legacy = parts.length == 3 && List.of(parts[1].split(",")).contains("memory");
        if (!unified && !legacy) {
            return memory;
        }
        Path root = unified ? GROUPS : GROUPS.resolve("memory");
        String file = unified ? "memory.max" : "memory.limit_in_bytes";
        Path group = root.resolve(parts[2].substring(1)).normalize();
        for (; group != null && group.startsWith(root); group = group.getParent()) {
            memory = Math.min(memory, limit(group.resolve(file)));
        }
        return memory;
    }

    private static long limit(Path file) {
        try {
            return Long.parseLong(Files.readString(file).trim());
        } catch (IOException | NumberFormatException e) {
            return Long.MAX_VALUE; // the root has none, or it says "max"
        }
    }
}
