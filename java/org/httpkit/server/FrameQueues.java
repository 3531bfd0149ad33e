package org.httpkit.server;

import java.util.ArrayDeque;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** Events queued for the channels of a {@link RingHandler}: a pool runs each channel's in order. */
final class FrameQueues {
    /** Frames queued for one WebSocket's callbacks at which it is closed. */
    private static final int MAX_WAITING = 20480;

    private final Unbegun unbegun;
    private final Consumer<Throwable> failed;
    private final ConcurrentHashMap<AsyncChannel, Chain> chains = new ConcurrentHashMap<>();

    /** Events queued for a channel: delivered in order, by one thread at a time. */
    private static final class Chain {
        final Queue<Runnable> tasks = new ArrayDeque<>();

        /** Raised before each event; 0 before the first. */
        volatile int begun;
    }

    /**
     * @param unbegun what the pool has not begun
     * @param failed is given what a task throws
     */
    FrameQueues(Unbegun unbegun, Consumer<Throwable> failed) {
        this.unbegun = unbegun;
        this.failed = failed;
    }

    /** Runs a task for a channel's event. @return false if too many are queued */
    boolean inOrder(AsyncChannel channel, Runnable task) {
        boolean[] begins = new boolean[1];
        boolean[] full = new boolean[1];
        chains.compute(
                channel,
                (key, chain) -> {
                    begins[0] = chain == null;
                    Chain grown = chain == null ? new Chain() : chain;
                    full[0] = grown.tasks.size() >= MAX_WAITING;
                    if (!full[0]) {
                        grown.tasks.add(task);
                    }
                    return grown;
                });
        if (begins[0]) {
            try {
                Runnable run = () -> runChain(channel);
                unbegun.submit(run, () -> Workers.aside(run));
            } catch (Throwable e) {
                chains.remove(channel);
                throw e;
            }
        }
        return !full[0];
    }

    /** Whether nothing is queued for the channel, and none of its events runs. */
    boolean isIdle(AsyncChannel channel) {
        return !chains.containsKey(channel);
    }

    private void runChain(AsyncChannel channel) {
        for (Runnable task = next(channel); task != null; task = next(channel)) {
            try {
                task.run();
            } catch (Throwable e) {
                failed.accept(e);
            }
        }
    }

    /** The chain is over once it is empty: the next frame begins a new one. */
    private Runnable next(AsyncChannel channel) {
        Runnable[] next = new Runnable[1];
        chains.computeIfPresent(
                channel,
                (key, chain) -> {
                    next[0] = chain.tasks.poll();
                    chain.begun++;
                    return next[0] == null ? null : chain;
                });
        return next[0];
    }

    /**
     * See {@link LateClosing}: the chain is there until the closing, which is part of it, has run.
     */
    int running(AsyncChannel channel) {
        Chain chain = chains.get(channel);
        return chain == null ? 0 : chain.begun;
    }
}
