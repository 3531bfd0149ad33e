package org.httpkit.logger;

/** Receives countable events, such as a name from {@link EventNames}. */
public interface EventLogger<T> {
    EventLogger<String> NOP = event -> {};

    void log(T event);
}
