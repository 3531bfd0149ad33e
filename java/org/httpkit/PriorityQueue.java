package org.httpkit;

import java.util.TreeSet;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A queue ordered by {@code compareTo}, which must be 0 only for the same element.
 *
 * <p>Unlike {@link java.util.PriorityQueue} it removes from the middle in logarithmic time: most
 * timeouts are cancelled long before they are due. Thread-safe.
 */
public class PriorityQueue<E extends Comparable<? super E>> {
    private final ReentrantLock lock = new ReentrantLock();
    private final TreeSet<E> elements = new TreeSet<>();

    /**
     * @return whether the element was added; false if it was already there
     */
    public boolean offer(E element) {
        lock.lock();
        try {
            return elements.add(element);
        } finally {
            lock.unlock();
        }
    }

    /**
     * @return the least element, null if there is none
     */
    public E peek() {
        lock.lock();
        try {
            return elements.isEmpty() ? null : elements.first();
        } finally {
            lock.unlock();
        }
    }

    /**
     * @return whether the element was there
     */
    public boolean remove(E element) {
        lock.lock();
        try {
            return elements.remove(element);
        } finally {
            lock.unlock();
        }
    }

    public int size() {
        lock.lock();
        try {
            return elements.size();
        } finally {
            lock.unlock();
        }
    }
}
