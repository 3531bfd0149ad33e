package org.httpkit.server;

import clojure.lang.APersistentMap;
import clojure.lang.IEditableCollection;
import clojure.lang.IFn;
import clojure.lang.IKVReduce;
import clojure.lang.IMapEntry;
import clojure.lang.IMapIterable;
import clojure.lang.IObj;
import clojure.lang.IPersistentCollection;
import clojure.lang.IPersistentMap;
import clojure.lang.ISeq;
import clojure.lang.ITransientCollection;
import clojure.lang.ITransientMap;
import clojure.lang.Keyword;
import clojure.lang.MapEntry;
import clojure.lang.PersistentArrayMap;
import clojure.lang.PersistentHashMap;

import org.httpkit.jni.Abi;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.util.Iterator;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The Ring request map: an ordinary persistent map whose values are computed on demand.
 *
 * <p>Keys that middleware adds are in a small map over the lazy base, so a request of which three
 * keys are read costs three values. Operations that need all of it (seq, dissoc of a base key,
 * transients) turn it into a hash map, once.
 */
final class RequestMap extends APersistentMap
        implements IObj, IEditableCollection, IKVReduce, IMapIterable {
    private static final long serialVersionUID = 1L;

    private static final Keyword[] KEYS = {
        key("request-method"), key("uri"), key("headers"), key("body"),
        key("query-string"), key("content-type"), key("async-channel"), key("websocket?"),
        key("remote-addr"), key("server-name"), key("server-port"), key("scheme"),
        key("protocol"), key("content-length"), key("character-encoding"), key("start-time"),
        // Only over TLS:
        key("tls"), key("ssl-client-cert"), key("ssl-client-cert-chain"),
    };
    private static final int PLAIN_KEYS = 16;
    private static final Keyword HTTP = key("http");
    private static final Keyword HTTPS = key("https");
    private static final Object UNSET = new Object();

    /** A computed null. */
    private static final Object NIL = new Object();

    /** The response was taken before anyone asked for the channel. */
    private static final Object TAKEN = new Object();

    private static final VarHandle VALUES = MethodHandles.arrayElementVarHandle(Object[].class);

    /** Shared by all requests, by their handle: one for each would be garbage. */
    private static final ReentrantLock[] LOCKS = new ReentrantLock[64];

    static {
        java.util.Arrays.setAll(LOCKS, i -> new ReentrantLock());
    }

    private final transient Base base;

    /** Added or changed entries. */
    private final transient IPersistentMap over;

    /** How many keys of {@link #over} are not among {@link #KEYS}. */
    private final int added;

    private final transient IPersistentMap meta;
    private transient volatile IPersistentMap whole;

    /** The values, shared by all maps made from this request. */
    private static final class Base {
        final RequestBlock block;
        final HttpServer server;

        /** One for each key that there is; null until it is computed. */
        private final Object[] values;

        Base(RequestBlock block, HttpServer server) {
            this.block = block;
            this.server = server;
            this.values = new Object[block.has(Abi.REQUEST_TLS) ? KEYS.length : PLAIN_KEYS];
        }

        /** Two threads may both compute a plain value; stateful ones are made under a lock. */
        Object value(int index) {
            Object value = VALUES.getAcquire(values, index);
            return isUnmade(value) ? make(index) : unwrap(value);
        }

        private static boolean isUnmade(Object value) {
            return value == null || value == TAKEN;
        }

        private static Object unwrap(Object value) {
            return value == NIL ? null : value;
        }

        private Object make(int index) {
            if (index != BODY && index != CHANNEL) {
                return set(index, compute(index));
            }
            long handle = block.handle();
            // Its low bits are the inserting thread's: one loop may insert all.
            ReentrantLock lock = LOCKS[(int) (handle ^ handle >>> 6) & LOCKS.length - 1];
            lock.lock();
            try {
                Object value = values[index];
                if (!isUnmade(value)) {
                    return unwrap(value);
                }
                return index == CHANNEL ? makeChannel() : set(index, compute(index));
            } finally {
                lock.unlock();
            }
        }

        /** Another thread may take the response meanwhile. */
        private AsyncChannel makeChannel() {
            RequestBodyStream upload = bodyStream();
            AsyncChannel channel = server.channels.make(block);
            if (upload != null) {
                upload.respondsOn(channel);
            }
            if (VALUES.compareAndSet(values, CHANNEL, null, channel)) {
                server.channels.closeIfOver(channel);
            } else {
                channel.handlerReturned(true);
                set(CHANNEL, channel);
            }
            return channel;
        }

        private Object set(int index, Object value) {
            VALUES.setRelease(values, index, value == null ? NIL : value);
            return value;
        }

        private Object compute(int index) {
            switch (index) {
                case 0:
                    return block.method();
                case 1:
                    return block.uri();
                case 2:
                    return block.headers();
                case BODY:
                    return block.has(Abi.REQUEST_STREAMED)
                            ? block.bodyStream(server)
                            : block.body();
                case 4:
                    return block.queryString();
                case 5:
                    return block.contentType();
                case 7:
                    return block.has(Abi.REQUEST_UPGRADE);
                case 8:
                    return block.remoteAddr(server.options.trustForwarded);
                case 9:
                    return block.serverName();
                case 10:
                    return block.serverPort();
                case 11:
                    return block.has(Abi.REQUEST_TLS) ? HTTPS : HTTP;
                case 12:
                    return block.protocol();
                case 13:
                    return block.contentLength();
                case 14:
                    return block.characterEncoding();
                case 15:
                    return block.startTime();
                default:
                    return TlsValues.of(block.handle(), index - PLAIN_KEYS);
            }
        }

        RequestBodyStream bodyStream() {
            return block.has(Abi.REQUEST_STREAMED) ? (RequestBodyStream) value(BODY) : null;
        }

        AsyncChannel channelIfMade() {
            return channelOrNull(VALUES.getAcquire(values, CHANNEL));
        }

        AsyncChannel takeResponse() {
            // With null of its own type, the JVM would have to adapt the call.
            Object unmade = null;
            return channelOrNull(VALUES.compareAndExchange(values, CHANNEL, unmade, TAKEN));
        }

        private static AsyncChannel channelOrNull(Object value) {
            return value == TAKEN ? null : (AsyncChannel) value;
        }
    }

    private static final int BODY = 3;
    private static final int CHANNEL = 6;

    RequestMap(RequestBlock block, HttpServer server) {
        this(new Base(block, server), PersistentArrayMap.EMPTY, 0, null);
    }

    private RequestMap(Base base, IPersistentMap over, int added, IPersistentMap meta) {
        this.base = base;
        this.over = over;
        this.added = added;
        this.meta = meta;
    }

    private static Keyword key(String name) {
        return Keyword.intern(null, name);
    }

    /** Index in {@link #KEYS} by a part of the hash in which no two of them agree; -1 elsewhere. */
    private static final byte[] SLOTS = new byte[256];

    private static final int SHIFT = fillSlots();

    private static int fillSlots() {
        for (int shift = 0; shift <= 24; shift++) {
            java.util.Arrays.fill(SLOTS, (byte) -1);
            int free = 0;
            while (free < KEYS.length && SLOTS[slot(KEYS[free], shift)] < 0) {
                SLOTS[slot(KEYS[free], shift)] = (byte) free++;
            }
            if (free == KEYS.length) {
                return shift;
            }
        }
        throw new IllegalStateException("the request map's keys need a larger table");
    }

    private static int slot(Keyword key, int shift) {
        return key.hasheq() >>> shift & SLOTS.length - 1;
    }

    private int index(Object key) {
        if (!(key instanceof Keyword)) {
            return -1;
        }
        int index = SLOTS[slot((Keyword) key, SHIFT)];
        return index >= 0 && KEYS[index] == key && index < base.values.length ? index : -1;
    }

    /**
     * @return the channel if the handler, or middleware, has asked for it
     */
    AsyncChannel channelIfMade() {
        return base.channelIfMade();
    }

    /**
     * The response is sent, unless it has begun on the channel that this returns. Who asks for the
     * channel from now on gets a closed one.
     *
     * @return as {@link #channelIfMade}
     */
    AsyncChannel takeResponse() {
        return base.takeResponse();
    }

    /**
     * @return the streamed body, created if necessary; null if the body is not streamed
     */
    RequestBodyStream bodyStream() {
        return base.bodyStream();
    }

    @Override
    public Object valAt(Object key) {
        return valAt(key, null);
    }

    @Override
    public Object valAt(Object key, Object notFound) {
        Object found = over.valAt(key, UNSET);
        if (found != UNSET) {
            return found;
        }
        int index = index(key);
        return index < 0 ? notFound : base.value(index);
    }

    @Override
    public boolean containsKey(Object key) {
        return index(key) >= 0 || over.containsKey(key);
    }

    @Override
    public IMapEntry entryAt(Object key) {
        return containsKey(key) ? MapEntry.create(key, valAt(key)) : null;
    }

    @Override
    public int count() {
        return base.values.length + added;
    }

    @Override
    public IPersistentMap assoc(Object key, Object value) {
        boolean isNew = index(key) < 0 && !over.containsKey(key);
        return new RequestMap(base, over.assoc(key, value), isNew ? added + 1 : added, meta);
    }

    @Override
    public IPersistentMap assocEx(Object key, Object value) {
        if (containsKey(key)) {
            throw new IllegalArgumentException("Key already present: " + key);
        }
        return assoc(key, value);
    }

    @Override
    public IPersistentMap without(Object key) {
        if (index(key) >= 0) {
            return whole().without(key);
        }
        return over.containsKey(key)
                ? new RequestMap(base, over.without(key), added - 1, meta)
                : this;
    }

    @Override
    public IPersistentCollection empty() {
        return (IPersistentCollection) PersistentHashMap.EMPTY.withMeta(meta);
    }

    /** The same entries as a hash map, with the same metadata. */
    private IPersistentMap whole() {
        IPersistentMap made = whole;
        if (made == null) {
            ITransientMap entries = PersistentHashMap.EMPTY.asTransient();
            for (int i = 0; i < base.values.length; i++) {
                if (!over.containsKey(KEYS[i])) {
                    entries = entries.assoc(KEYS[i], base.value(i));
                }
            }
            for (ISeq s = over.seq(); s != null; s = s.next()) {
                IMapEntry entry = (IMapEntry) s.first();
                entries = entries.assoc(entry.key(), entry.val());
            }
            made = (IPersistentMap) ((IObj) entries.persistent()).withMeta(meta);
            whole = made;
        }
        return made;
    }

    @Override
    public ISeq seq() {
        return whole().seq();
    }

    @Override
    @SuppressWarnings("rawtypes")
    public Iterator iterator() {
        return ((Iterable) whole()).iterator();
    }

    @Override
    @SuppressWarnings("rawtypes")
    public Iterator keyIterator() {
        return ((IMapIterable) whole()).keyIterator();
    }

    @Override
    @SuppressWarnings("rawtypes")
    public Iterator valIterator() {
        return ((IMapIterable) whole()).valIterator();
    }

    @Override
    public Object kvreduce(IFn f, Object init) {
        return ((IKVReduce) whole()).kvreduce(f, init);
    }

    @Override
    public ITransientCollection asTransient() {
        return ((IEditableCollection) whole()).asTransient();
    }

    @Override
    public IPersistentMap meta() {
        return meta;
    }

    @Override
    public IObj withMeta(IPersistentMap meta) {
        return meta == this.meta ? this : new RequestMap(base, over, added, meta);
    }

    /** Serializes as the hash map it stands for. */
    private Object writeReplace() {
        return whole();
    }
}
