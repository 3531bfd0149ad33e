package org.httpkit.server;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Watches bodies that are partly buffered: when a source falls silent, the buffered part is sent.
 * Of a stream, gathered small parts are sent at each tick.
 *
 * <p>A quick body costs only its entry in a set. While there are bodies, a timer ticks and checks
 * those that remain.
 */
final class SilentBodies {
    static final int TICK_MILLIS = 10;

    /** Ticks without a body before the timer stops: restarting it costs more. */
    private static final int IDLE_TICKS = 100;

    private static final Set<OpenBody> BODIES = ConcurrentHashMap.newKeySet();
    private static final AtomicBoolean TICKS = new AtomicBoolean();
    private static int idleTicks;

    private SilentBodies() {}

    static void add(OpenBody body) {
        BODIES.add(body);
        startTicking();
    }

    static void remove(OpenBody body) {
        BODIES.remove(body);
    }

    static boolean has(OpenBody body) {
        return BODIES.contains(body);
    }

    private static void startTicking() {
        if (!TICKS.get() && TICKS.compareAndSet(false, true)) {
            idleTicks = 0;
            tickLater();
        }
    }

    /** Without memory for a timer, bodies are sent when they end, or the next body starts it. */
    private static void tickLater() {
        if (!ServerTimer.after(TICK_MILLIS, SilentBodies::tick)) {
            TICKS.set(false);
        }
    }

    /** What one body throws, for lack of memory for example, costs only that body. */
    private static void tick(OpenBody body) {
        try {
            body.tick();
        } catch (Throwable e) {
            body.tickFailed(e);
        }
    }

    private static void tick() {
        idleTicks = BODIES.isEmpty() ? idleTicks + 1 : 0;
        try {
            BODIES.forEach(SilentBodies::tick);
        } catch (Throwable e) {
            // No memory even for that: the next tick must come all the same.
            Loggers.complain("bodies that are being read", null, e);
        }
        if (idleTicks < IDLE_TICKS) {
            tickLater();
            return;
        }
        TICKS.set(false);
        if (!BODIES.isEmpty()) {
            startTicking();
        }
    }
}
