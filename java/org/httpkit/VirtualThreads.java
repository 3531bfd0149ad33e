package org.httpkit;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/**
 * Virtual threads, on JVMs that have them.
 *
 * <p>Looked up when the class is loaded, not compiled, so that code compiled on an old JVM finds
 * them on a new one.
 */
public final class VirtualThreads {
    private static final MethodHandle NEW_EXECUTOR = find();

    private VirtualThreads() {}

    /**
     * @return whether this JVM has them for general use: Java 21 and later
     */
    public static boolean available() {
        return NEW_EXECUTOR != null;
    }

    /**
     * @return an executor that runs each task on its own virtual thread
     * @throws UnsupportedOperationException if there are none
     */
    public static ExecutorService newExecutor() {
        if (!available()) {
            throw new UnsupportedOperationException("this JVM has no virtual threads");
        }
        try {
            return (ExecutorService) NEW_EXECUTOR.invokeExact();
        } catch (Throwable e) {
            throw new IllegalStateException("virtual threads cannot be used", e);
        }
    }

    private static MethodHandle find() {
        if (Runtime.version().feature() < 21) {
            return null; // 19 and 20 have the method, as a preview that throws
        }
        try {
            return MethodHandles.publicLookup()
                    .findStatic(
                            Executors.class,
                            "newVirtualThreadPerTaskExecutor",
                            MethodType.methodType(ExecutorService.class));
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }
}
