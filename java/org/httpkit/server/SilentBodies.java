package org.httpkit.server;

import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Looks after bodies of which a part is kept: when their sources fall silent, it leaves.
 *
 * <p>A body that is quick costs its entry in a set, nothing else: while bodies come, the timer
 * ticks, and looks at those that are there.
 */
final class SilentBodies {
    static final int TICK_MILLIS = 10;

    /** Ticks that the timer survives without a body: starting it again costs more. */
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

    private static void startTicking() {
        if (!TICKS.get() && TICKS.compareAndSet(false, true)) {
            idleTicks = 0;
            tickLater();
        }
    }

    /** Without memory for a timer, bodies leave when they end, or the next one starts it. */
    private static void tickLater() {
        if (!ServerTimer.after(TICK_MILLIS, SilentBodies::tick)) {
            TICKS.set(false);
        }
    }

    private static void tick() {
        idleTicks = BODIES.isEmpty() ? idleTicks + 1 : 0;
        BODIES.forEach(OpenBody::tick);
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
