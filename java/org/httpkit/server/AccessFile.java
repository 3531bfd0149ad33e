package org.httpkit.server;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;

/**
 * An access log in a file. If the file was renamed or deleted, as by logrotate, a new one is made
 * within a second.
 */
final class AccessFile extends AccessSink {
    private static final long LOOK_NANOS = TimeUnit.SECONDS.toNanos(1);

    private final Path path;
    private final AccessFormat format;
    private FileChannel channel;

    /** What distinguishes the open file from another one of its name. */
    private Object identity;

    private long looked;

    /** The last write failed in the middle of a line. */
    private boolean torn;

    AccessFile(Path path, AccessFormat format) {
        this.path = path;
        this.format = format;
    }

    @Override
    void check() throws IOException {
        try {
            open();
            close();
        } catch (IOException e) {
            throw new IOException(":access-log cannot be opened: " + e, e);
        }
    }

    private void open() throws IOException {
        channel = FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        identity = identity();
        looked = System.nanoTime();
        torn = false;
    }

    /** Null if there is no such file. */
    private Object identity() throws IOException {
        try {
            BasicFileAttributes now = Files.readAttributes(path, BasicFileAttributes.class);
            return now.fileKey() == null ? now.creationTime() : now.fileKey();
        } catch (NoSuchFileException e) {
            return null;
        }
    }

    @Override
    void write(List<AccessEntry> entries, Losses losses) throws IOException {
        follow();
        if (torn) {
            channel.write(ByteBuffer.wrap(new byte[] {'\n'}));
            torn = false;
        }
        byte[] lines = lines(format, entries);
        ByteBuffer rest = ByteBuffer.wrap(lines);
        try {
            while (rest.hasRemaining()) {
                channel.write(rest);
            }
        } catch (IOException e) {
            int written = rest.position();
            torn = written > 0 && lines[written - 1] != '\n';
            losses.lost(entries.size() - count(lines, written), e);
        }
    }

    /** How many of the lines end before {@code end}. */
    private static int count(byte[] lines, int end) {
        int count = 0;
        for (int i = 0; i < end; i++) {
            if (lines[i] == '\n') {
                count++;
            }
        }
        return count;
    }

    /** Opens the file again if its name has become that of another one, or of none. */
    private void follow() throws IOException {
        if (channel == null) {
            open();
        } else if (System.nanoTime() - looked >= LOOK_NANOS) {
            looked = System.nanoTime();
            if (!Objects.equals(identity(), identity)) {
                close();
                open();
            }
        }
    }

    @Override
    void close() throws IOException {
        FileChannel open = channel;
        channel = null;
        if (open != null) {
            open.close();
        }
    }
}
