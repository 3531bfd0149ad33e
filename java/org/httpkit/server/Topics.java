package org.httpkit.server;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.HashSet;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.atomic.AtomicReferenceFieldUpdater;
import java.util.function.BooleanSupplier;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;

/**
 * A server's topics: names with the channels that are subscribed to them. A subscription ends with
 * its channel, after the close handlers; a topic ends with its last subscription.
 *
 * <p>A subscription is in two places, the topic's set and the channel's array. Both change while
 * the map holds the topic's entry, so that they agree, whichever threads subscribe and close.
 */
public final class Topics {
    /** Connects topics with other processes. */
    public interface Bridge {
        /**
         * A channel is about to be subscribed to a topic. What it throws reaches the caller.
         *
         * @param subscribe subscribes it, once the bridge can pass on what is published elsewhere
         * @return what {@code subscribe} returns
         */
        boolean entering(String topic, BooleanSupplier subscribe);

        /** A topic has no subscribers any more, unless there are new ones. Must not block. */
        void ended(String topic);
    }

    /** What a channel refers to; subscriptions share its name. */
    static final class Topic {
        final String name;
        final Set<AsyncChannel> members = Collections.newSetFromMap(new IdentityHashMap<>(2));

        Topic(String name) {
            this.name = name;
        }
    }

    /** The topics of a channel whose subscriptions have ended. */
    private static final Topic[] ENDED = {};

    private static final Topic[] NONE = {};

    private static final AtomicReferenceFieldUpdater<AsyncChannel, Topic[]> OF_CHANNEL =
            AtomicReferenceFieldUpdater.newUpdater(AsyncChannel.class, Topic[].class, "topics");

    private final ConcurrentHashMap<String, Topic> topics = new ConcurrentHashMap<>();

    public final HttpServer server;

    private final AtomicReference<Bridge> bridge = new AtomicReference<>();

    Topics(HttpServer server) {
        this.server = server;
    }

    /** The topics of the server that a channel belongs to; none without one. */
    public static Topics of(AsyncChannel channel) {
        return channel.server == null ? new Topics(null) : channel.server.topics;
    }

    /**
     * @return whether the channel is subscribed now; false if it is closed
     */
    public boolean subscribe(AsyncChannel channel, String name) {
        if (channel.isClosed()) {
            return false;
        }
        try {
            while (true) {
                Bridge outside = bridge.get();
                boolean subscribed =
                        outside == null
                                ? subscribeHere(channel, name)
                                : outside.entering(name, () -> subscribeHere(channel, name));
                // One that was connected meanwhile may not have seen this topic.
                if (!subscribed || bridge.get() == outside) {
                    return subscribed;
                }
            }
        } catch (Throwable e) {
            unsubscribe(channel, name);
            throw e;
        }
    }

    private boolean subscribeHere(AsyncChannel channel, String name) {
        boolean[] subscribed = {false};
        topics.compute(
                name,
                (key, known) -> {
                    Topic topic = known == null ? new Topic(name) : known;
                    subscribed[0] = topic.members.contains(channel) || add(channel, topic);
                    if (subscribed[0]) {
                        topic.members.add(channel);
                    }
                    return topic.members.isEmpty() ? null : topic;
                });
        return subscribed[0];
    }

    /**
     * @return whether the channel was subscribed
     */
    public boolean unsubscribe(AsyncChannel channel, String name) {
        boolean was = isMember(channel, name);
        if (was) {
            remove(channel, name);
        }
        return was;
    }

    private static boolean isMember(AsyncChannel channel, String name) {
        Topic[] all = channel.topics;
        return all != null && Arrays.stream(all).anyMatch(topic -> topic.name.equals(name));
    }

    /** Ends all subscriptions of a channel; it can have none any more. */
    static void end(AsyncChannel channel) {
        Topic[] all = OF_CHANNEL.getAndSet(channel, ENDED);
        if (all != null) {
            for (Topic topic : all) {
                of(channel).remove(channel, topic.name);
            }
        }
    }

    private void remove(AsyncChannel channel, String name) {
        boolean[] ended = {false};
        topics.computeIfPresent(
                name,
                (key, topic) -> {
                    topic.members.remove(channel);
                    change(channel, all -> without(all, topic));
                    ended[0] = topic.members.isEmpty();
                    return ended[0] ? null : topic;
                });
        Bridge outside = bridge.get();
        if (ended[0] && outside != null) {
            tellEnded(outside, name);
        }
    }

    /** A bridge that fails must not keep a channel in its other topics. */
    private void tellEnded(Bridge outside, String name) {
        try {
            outside.ended(name);
        } catch (Throwable e) {
            server.logWarning("the bridge was not told that topic " + name + " has ended", e);
        }
    }

    private static boolean add(AsyncChannel channel, Topic topic) {
        return change(
                channel,
                all -> {
                    Topic[] more = Arrays.copyOf(all, all.length + 1);
                    more[all.length] = topic;
                    return more;
                });
    }

    private static Topic[] without(Topic[] all, Topic topic) {
        return Arrays.stream(all).filter(each -> each != topic).toArray(Topic[]::new);
    }

    /**
     * @return false if the channel's subscriptions have ended
     */
    private static boolean change(AsyncChannel channel, UnaryOperator<Topic[]> change) {
        Topic[] before;
        do {
            before = channel.topics;
            if (before == ENDED) {
                return false;
            }
        } while (!OF_CHANNEL.compareAndSet(
                channel, before, change.apply(before == null ? NONE : before)));
        return true;
    }

    /**
     * @return the channels that are subscribed to a topic at this moment
     */
    public Collection<AsyncChannel> members(String name) {
        List<AsyncChannel> members = new ArrayList<>();
        topics.computeIfPresent(
                name,
                (key, topic) -> {
                    members.addAll(topic.members);
                    return topic;
                });
        return members;
    }

    /**
     * @return how many channels are subscribed to a topic
     */
    public int subscribers(String name) {
        int[] count = {0};
        topics.computeIfPresent(
                name,
                (key, topic) -> {
                    count[0] = topic.members.size();
                    return topic;
                });
        return count[0];
    }

    /**
     * @return the names of all topics
     */
    public Set<String> names() {
        // Not Set.copyOf: the map counts a new topic only after it can be found, so it may still be
        // "empty" for a thread that has seen a subscriber.
        Set<String> names = new HashSet<>();
        topics.forEach((name, topic) -> names.add(name));
        return names;
    }

    /**
     * @return the names of the topics that a channel is subscribed to
     */
    public static Set<String> namesOf(AsyncChannel channel) {
        Topic[] all = channel.topics;
        return all == null
                ? Set.of()
                : Arrays.stream(all).map(topic -> topic.name).collect(Collectors.toSet());
    }

    /**
     * Sets the bridge, or removes it.
     *
     * @param expected the present one, or null
     * @return whether it was the present one
     */
    public boolean connect(Bridge expected, Bridge next) {
        return bridge.compareAndSet(expected, next);
    }
}
