package org.httpkit.client;

import org.httpkit.ContentTooLargeException;
import org.httpkit.DynamicBytes;
import org.httpkit.jni.ClientUpcalls;

/**
 * What one call collects on the heap, within the room for those of all clients.
 *
 * <p>Room is asked for when an array grows: nothing else takes memory, and the new array is there
 * before the old one is garbage.
 */
final class HeapShare {
    /** Bytes of the arrays of all calls. */
    private static long held;

    /** Bytes of arrays that are being made. */
    private static long promised;

    private int mine;

    /**
     * @throws ContentTooLargeException if the heap has no room for the array that this needs
     */
    void append(DynamicBytes body, byte[] bytes, int length) {
        int capacity = body.capacityFor(length);
        if (capacity == body.get().length) {
            body.append(bytes, length);
            return;
        }
        promise(capacity);
        try {
            body.append(bytes, length);
        } catch (OutOfMemoryError e) {
            throw full(e);
        } finally {
            made(capacity, body.get().length);
        }
    }

    private static synchronized void promise(int capacity) {
        long room = ClientUpcalls.room();
        // The room is what remains beside the arrays. They count again: a collector may not be able
        // to put all that is free into one array.
        if (held + promised + capacity > room) {
            throw new ContentTooLargeException(
                    "Response body does not fit: there is room for "
                            + room
                            + " bytes of responses in the heap (max-response-bytes allows more,"
                            + " unless compressed; a stream without a filter needs no room)");
        }
        promised += capacity;
    }

    private void made(int capacity, int holds) {
        synchronized (HeapShare.class) {
            promised -= capacity;
            held += holds - mine;
            mine = holds;
        }
    }

    /** What a program is told of a response for which there was no memory, converted or not. */
    static ContentTooLargeException full(OutOfMemoryError why) {
        ContentTooLargeException full =
                new ContentTooLargeException(
                        "The heap has no memory for the response: " + why.getMessage());
        full.initCause(why);
        return full;
    }

    /** The call is over. */
    void release() {
        made(0, 0);
    }
}
