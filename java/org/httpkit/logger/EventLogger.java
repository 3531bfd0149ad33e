package org.httpkit.logger;

/** Where countable events go, such as one name of {@link EventNames}. */
public interface EventLogger<T> {
    EventLogger<String> NOP = event -> {};

    void log(T event);
}
