package org.httpkit.client;

import org.httpkit.ProtocolException;
import org.httpkit.jni.ClientUpcalls;
import org.httpkit.jni.NativeClient;

import java.io.IOException;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.SocketChannel;
import java.util.ArrayDeque;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Supplier;

import javax.net.ssl.SSLEngine;
import javax.net.ssl.SSLException;

/**
 * One channel, plain or with TLS, that carries bytes between the core and a peer.
 *
 * <p>Upcalls come from the client's loop, and connecting runs on a background thread; everything
 * else is confined to the selector's thread.
 */
final class HostedTransport implements ClientUpcalls.Transport {
    private static final int PLAIN_READ = 16 * 1024;
    private static final int READS_PER_TURN = 8;

    private final HostedTransports owner;
    private final long id;
    private final long client;
    private final SocketAddress[] addresses;

    /** False where plain bytes can only mean a peer without TLS: the engine has to see them. */
    private final boolean mayReadPlain;

    private final AtomicBoolean failed = new AtomicBoolean();
    private final ConcurrentLinkedQueue<byte[]> arrived = new ConcurrentLinkedQueue<>();

    /** Bytes that the core accepts besides {@link #credit}. */
    private final AtomicInteger granted = new AtomicInteger();

    private final HostedTransports.Task work = this::work;

    private volatile SocketChannel channel;
    private volatile boolean closed;
    private volatile Throwable failure;

    private int next;
    private SelectionKey key;
    private final ArrayDeque<ByteBuffer> outgoing = new ArrayDeque<>();
    private final ByteBuffer incoming = ByteBuffer.allocate(PLAIN_READ);
    private int credit;
    private boolean eof;

    /** Whether the core was told of bytes in this turn. */
    private boolean told;

    private TlsChannel tls;

    HostedTransport(
            HostedTransports owner, long id, SocketAddress[] addresses, boolean tlsFromTheStart) {
        this.owner = owner;
        this.id = id;
        this.client = owner.client().handle();
        this.addresses = addresses;
        this.mayReadPlain = !tlsFromTheStart;
    }

    /** On a background thread: user code makes the channel. */
    void connectNext() {
        for (boolean begun = false; !begun; ) {
            try {
                connect(addresses[next++]);
                begun = true;
            } catch (Throwable t) {
                begun = !another(t);
            }
        }
    }

    private void connect(SocketAddress address) throws IOException {
        SocketChannel made = owner.client().channelFactory().createChannel(address);
        channel = made;
        made.configureBlocking(false);
        SocketAddress bind = owner.client().bindAddress();
        if (bind != null) {
            made.bind(bind);
        }
        if (!made.isConnected()) {
            connect(made, address);
        }
        if (closed) {
            made.close();
        } else {
            owner.execute(this, this::register);
        }
    }

    private static void connect(SocketChannel made, SocketAddress address) throws IOException {
        try {
            made.connect(address);
        } catch (IOException e) {
            throw ConnectFailure.named(e, address);
        }
    }

    /** Whether there is one more address to try; otherwise the transport has failed. */
    private boolean another(Throwable t) {
        boolean more = t instanceof IOException && next < addresses.length && !closed;
        try {
            if (more) {
                closeChannel();
            }
        } catch (Throwable e) {
            t = e;
            more = false;
        }
        if (!more) {
            fail(t);
        }
        return more;
    }

    private void register() throws IOException {
        boolean connected = channel.isConnected();
        key = channel.register(owner.selector(), connected ? 0 : SelectionKey.OP_CONNECT, this);
        if (connected) {
            NativeClient.transportReady(client, id);
        }
    }

    /** The selector found the channel ready. */
    void ready() {
        if (failed.get() || closed) {
            return;
        }
        if (!channel.isConnected()) {
            finishConnect();
        } else {
            work();
        }
    }

    private void finishConnect() {
        try {
            if (channel.finishConnect()) {
                key.interestOps(0);
                NativeClient.transportReady(client, id);
            }
        } catch (Throwable t) {
            key.cancel();
            if (another(
                    t instanceof IOException
                            ? ConnectFailure.named((IOException) t, addresses[next - 1])
                            : t)) {
                BackgroundThreads.execute(this::connectNext);
            }
        }
    }

    /** On the loop: from now on all bytes go through the engine. */
    void startTls(Supplier<SSLEngine> made, int level) {
        owner.execute(
                this,
                () -> {
                    SSLEngine engine = made.get();
                    if (engine == null || level != 0) {
                        throw new SSLException("TLS inside of TLS needs the built-in TLS");
                    }
                    TlsChoice.claim(engine);
                    tls = new TlsChannel(engine, channel, this::tasksEnded);
                    tls.begin();
                    work();
                });
    }

    private void tasksEnded(Throwable failure) {
        if (failure == null) {
            owner.execute(this, work);
        } else {
            fail(failure);
        }
    }

    @Override
    public void write(byte[] data) {
        arrived.add(data);
        owner.execute(this, work);
    }

    @Override
    public void readCredit(int n) {
        granted.addAndGet(n);
        owner.execute(this, work);
    }

    /** Does what it can now, then tells the selector what to wait for. */
    private void work() {
        if (failed.get() || closed || key == null) {
            return;
        }
        credit += granted.getAndSet(0);
        try {
            for (byte[] data = arrived.poll(); data != null; data = arrived.poll()) {
                outgoing.add(ByteBuffer.wrap(data));
            }
            if (tls == null) {
                writePlain();
                readPlain();
            } else {
                workTls();
                reportMoves();
            }
            key.interestOps(interest());
        } catch (Throwable t) {
            fail(t);
        }
    }

    private int interest() {
        boolean writes = tls == null ? !outgoing.isEmpty() : tls.wantsWrite();
        boolean reads = tls == null ? wantsPlain() : tls.wantsRead(credit > 0 && !eof);
        return (writes ? SelectionKey.OP_WRITE : 0) | (reads ? SelectionKey.OP_READ : 0);
    }

    private boolean wantsPlain() {
        return mayReadPlain && credit > 0 && !eof;
    }

    private void writePlain() throws IOException {
        int written = 0;
        while (!outgoing.isEmpty()) {
            ByteBuffer first = outgoing.peek();
            written += channel.write(first);
            if (first.hasRemaining()) {
                break;
            }
            outgoing.remove();
        }
        if (written > 0) {
            NativeClient.transportWritten(client, id, written);
        }
    }

    private void readPlain() throws IOException {
        for (int i = 0; i < READS_PER_TURN && wantsPlain(); i++) {
            incoming.clear().limit(Math.min(incoming.capacity(), credit));
            int n = channel.read(incoming);
            if (n == 0) {
                return;
            } else if (n < 0) {
                peerEnded();
            } else {
                hand(incoming.array(), 0, n);
            }
        }
    }

    private void workTls() throws IOException, ProtocolException {
        if (!tls.handshake()) {
            return;
        }
        if (tls.announce()) {
            NativeClient.transportReady(client, id);
        }
        int written = tls.write(outgoing);
        if (written > 0) {
            told = true;
            NativeClient.transportWritten(client, id, written);
        }
        for (int i = 0; credit > 0 && !eof; i++) {
            ByteBuffer plain = tls.read(credit);
            if (plain == null) {
                peerEnded();
            } else if (!plain.hasRemaining()) {
                return;
            } else {
                hand(plain.array(), plain.arrayOffset() + plain.position(), plain.remaining());
            }
            if (i == READS_PER_TURN) {
                // The selector does not know of bytes already decrypted or buffered.
                owner.execute(this, work);
                return;
            }
        }
    }

    /**
     * Reports bytes of a handshake or a partial record: the core does not see them, but the peer is
     * not silent.
     */
    private void reportMoves() {
        if (tls.moved() && !told) {
            NativeClient.transportWritten(client, id, 0);
        }
        told = false;
    }

    private void hand(byte[] bytes, int offset, int n) {
        credit -= n;
        told = true;
        NativeClient.transportReceived(client, id, bytes, offset, n);
    }

    private void peerEnded() {
        eof = true;
        NativeClient.transportEof(client, id);
    }

    /** On any thread; never throws. */
    void fail(Throwable t) {
        if (failed.compareAndSet(false, true)) {
            failure = t;
            closeAnyhow();
            NativeClient.transportFailed(client, id);
        }
    }

    // A user's channel may throw anything.
    private void closeAnyhow() {
        try {
            closeChannel();
        } catch (Throwable t) {
            owner.client().impossible(t);
        }
    }

    private void closeChannel() throws IOException {
        SocketChannel current = channel;
        if (current != null) {
            current.close();
        }
    }

    @Override
    public void close() {
        closed = true;
        closeAnyhow();
        owner.closed(this, id, failure);
    }
}
