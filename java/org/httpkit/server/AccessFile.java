package org.httpkit.server;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.FileChannel;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/**
 * An access log in a file. If the file was renamed or deleted, as by logrotate, a new one is made
 * within a second. Nothing is written to a named pipe while it has no reader.
 */
final class AccessFile extends AccessSink {
    private static final long LOOK_NANOS = TimeUnit.SECONDS.toNanos(1);

    /** How often a reader of a pipe is looked for. */
    private static final long READER_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    private static final String STAYS =
            "the file cannot be opened again; entries go to the one that is open";

    private static final int FILE_TYPE = 0170000;
    private static final int PIPE = 0010000;

    private final Path path;
    private final AccessFormat format;
    private volatile FileChannel channel;
    private volatile boolean isPipe;

    /** The stop waits no longer. */
    private volatile boolean isCut;

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
            if (!isPipe()) {
                open();
                looked -= LOOK_NANOS; // the first entry may come much later
            } else if (!Files.isReadable(path) || !Files.isWritable(path)) {
                // A pipe is not opened yet: its reader would take the close for the end.
                throw new AccessDeniedException(path.toString());
            }
        } catch (IOException e) {
            throw new IOException(":access-log cannot be opened: " + e, e);
        }
    }

    private boolean isPipe() throws IOException {
        try {
            return path.getFileSystem().supportedFileAttributeViews().contains("unix")
                    && ((int) Files.getAttribute(path, "unix:mode") & FILE_TYPE) == PIPE;
        } catch (UnsupportedOperationException | NoSuchFileException e) {
            return false;
        }
    }

    /** Instead of what is open, which stays if this fails: there may be no descriptor. */
    private void open() throws IOException {
        boolean pipe = isPipe();
        FileChannel opened = pipe ? openPipe() : openFile();
        try {
            identity = identity();
        } catch (Throwable e) {
            opened.close();
            throw e;
        }
        FileChannel before = channel;
        isPipe = pipe;
        channel = opened;
        looked = System.nanoTime();
        torn = false;
        if (isCut) { // which may have been too early to see this channel
            close();
        }
        if (before != null) {
            before.close();
        }
        if (isCut) {
            throw new ClosedChannelException();
        }
    }

    private FileChannel openFile() throws IOException {
        return FileChannel.open(path, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    }

    /** Waits for no reader, as there is one meanwhile. */
    private FileChannel openPipe() throws IOException {
        FileChannel reader =
                FileChannel.open(path, StandardOpenOption.READ, StandardOpenOption.WRITE);
        try {
            return FileChannel.open(path, StandardOpenOption.WRITE);
        } finally {
            reader.close();
        }
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
        follow(losses);
        if (torn) {
            channel.write(ByteBuffer.wrap(new byte[] {'\n'}));
            torn = false;
        }
        byte[] lines = lines(format, entries);
        ByteBuffer rest = ByteBuffer.wrap(lines);
        try {
            while (rest.hasRemaining()) {
                writeSome(rest, losses);
            }
        } catch (IOException e) {
            int written = rest.position();
            torn = written > 0 && lines[written - 1] != '\n';
            losses.lost(entries.size() - count(lines, written), isCut ? null : e);
        }
    }

    private void writeSome(ByteBuffer rest, Losses losses) throws IOException {
        try {
            channel.write(rest);
        } catch (IOException e) {
            if (!isPipe || isCut) {
                throw e;
            }
            LockSupport.parkNanos(READER_NANOS); // its reader has gone, and may come back
            follow(losses);
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
    private void follow(Losses losses) throws IOException {
        if (channel == null) {
            open();
        } else if (System.nanoTime() - looked >= LOOK_NANOS) {
            looked = System.nanoTime();
            try {
                if (!Objects.equals(identity(), identity)) {
                    open();
                }
            } catch (IOException e) {
                if (isCut) {
                    throw e;
                }
                losses.none(STAYS, e);
            }
        }
    }

    /** Closing a pipe ends a write that would block forever; a slow disk cannot be interrupted. */
    @Override
    boolean cut() throws IOException {
        isCut = true;
        FileChannel open = channel;
        if (!isPipe || open == null) {
            return false;
        }
        open.close();
        return true;
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
