package org.httpkit.server;

import java.util.concurrent.ScheduledThreadPoolExecutor;
import java.util.concurrent.TimeUnit;

/**
 * Runs short delayed tasks of all servers, on one thread that starts on demand and ends when idle.
 *
 * <p>Tasks must neither block nor run user code.
 */
final class ServerTimer {
    private static final int IDLE_SECONDS = 5;
    private static final ScheduledThreadPoolExecutor EXECUTOR = executor();

    private ServerTimer() {}

    private static ScheduledThreadPoolExecutor executor() {
        ScheduledThreadPoolExecutor executor =
                new ScheduledThreadPoolExecutor(
                        1,
                        task -> {
                            Thread thread = new Thread(task, "http-kit-server-timer");
                            thread.setDaemon(true);
                            return thread;
                        });
        executor.setKeepAliveTime(IDLE_SECONDS, TimeUnit.SECONDS);
        executor.allowCoreThreadTimeOut(true);
        executor.setRemoveOnCancelPolicy(true);
        return executor;
    }

    /** Runs {@code task} after {@code millis}. @return false if there is no memory for that */
    static boolean after(int millis, Runnable task) {
        try {
            EXECUTOR.schedule(task, millis, TimeUnit.MILLISECONDS);
            return true;
        } catch (Throwable e) {
            return false;
        }
    }
}
