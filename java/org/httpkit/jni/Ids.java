package org.httpkit.jni;

import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Objects by the core's id for them.
 *
 * <p>A look-up takes no memory after {@link #enter}: a loop must find a call and report its end
 * even when the heap is full.
 */
final class Ids<T> {
    private static final class Id {
        long value;

        @Override
        public int hashCode() {
            return Long.hashCode(value);
        }

        @Override
        public boolean equals(Object other) {
            return other instanceof Id && ((Id) other).value == value;
        }
    }

    private final Map<Id, T> objects = new ConcurrentHashMap<>();

    /** Reused for each look-up on a loop; {@link #leave} removes it. */
    private final ThreadLocal<Id> asked = ThreadLocal.withInitial(Id::new);

    private Id asked(long id) {
        Id asking = asked.get();
        asking.value = id;
        return asking;
    }

    private static Id key(long id) {
        Id key = new Id();
        key.value = id;
        return key;
    }

    void put(long id, T object) {
        objects.put(key(id), object);
    }

    /**
     * As {@link #remove}, on a thread that is no loop: leaves nothing of our class loader to it.
     */
    void forget(long id) {
        objects.remove(key(id));
    }

    /** This thread will be a loop. */
    void enter() {
        asked.get();
    }

    /**
     * This thread is no loop any more, but may live on: a client without a loop stops on its
     * caller's.
     */
    void leave() {
        asked.remove();
    }

    /**
     * @return null when there is none. Called on a loop
     */
    T get(long id) {
        return objects.get(asked(id));
    }

    /**
     * @return what was removed; null when there was none. Called on a loop
     */
    T remove(long id) {
        return objects.remove(asked(id));
    }

    int size() {
        return objects.size();
    }
}
