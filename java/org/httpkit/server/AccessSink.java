package org.httpkit.server;

import clojure.lang.IFn;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;

/** Where the entries of an access log go. */
public abstract class AccessSink {
    private static final String STDOUT_FAILED =
            "standard output cannot be written to; later failures are not noticed";

    /** Told of entries that could not be taken. */
    interface Losses {
        void lost(int entries, Throwable why);

        /** Told of a failure that has lost none, on the log's thread. */
        void none(String what, Throwable why);
    }

    /**
     * Called before the server binds. It may open what {@link #close} closes.
     *
     * @throws IOException if it cannot be used
     */
    void check() throws IOException {}

    /**
     * Takes entries, on the log's thread.
     *
     * @throws IOException if none of them could be taken
     */
    abstract void write(List<AccessEntry> entries, Losses losses) throws IOException;

    /**
     * Ends a {@link #write} that blocks, if that is possible without waiting for it.
     *
     * @return whether it is
     */
    boolean cut() throws IOException {
        return false;
    }

    void close() throws IOException {}

    /** Each entry goes to a function, as a map. */
    public static AccessSink function(IFn function) {
        return new AccessSink() {
            @Override
            void write(List<AccessEntry> entries, Losses losses) {
                for (AccessEntry entry : entries) {
                    try {
                        function.invoke(entry.map());
                    } catch (Throwable e) {
                        losses.lost(1, e);
                    }
                }
            }
        };
    }

    /** Lines go to standard output. */
    public static AccessSink standardOutput(AccessFormat format) {
        return new AccessSink() {
            @Override
            void write(List<AccessEntry> entries, Losses losses) throws IOException {
                byte[] lines = lines(format, entries);
                // Any failed write by any code sets this flag, and nothing clears it. Writing to
                // the descriptor would bypass what a program has set as System.out.
                boolean failed = System.out.checkError();
                System.out.write(lines, 0, lines.length);
                if (System.out.checkError() && !failed) {
                    throw new IOException(STDOUT_FAILED);
                }
            }
        };
    }

    /** Lines are appended to a file. */
    public static AccessSink file(Path path, AccessFormat format) {
        return new AccessFile(path, format);
    }

    static byte[] lines(AccessFormat format, List<AccessEntry> entries) {
        StringBuilder lines = new StringBuilder(entries.size() * 200);
        for (AccessEntry entry : entries) {
            format.line(entry, lines);
        }
        return lines.toString().getBytes(StandardCharsets.US_ASCII);
    }
}
