package org.httpkit;

import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicInteger;

/** Makes daemon threads named with a prefix and a number from 1: {@code w-1}, {@code w-2}. */
public class PrefixThreadFactory implements ThreadFactory {
    private final AtomicInteger made = new AtomicInteger();
    private final String prefix;

    public PrefixThreadFactory(String prefix) {
        this.prefix = prefix;
    }

    @Override
    public Thread newThread(Runnable task) {
        Thread thread = new Thread(task, prefix + made.incrementAndGet());
        thread.setDaemon(true);
        return thread;
    }
}
