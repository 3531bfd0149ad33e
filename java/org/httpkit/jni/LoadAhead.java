package org.httpkit.jni;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Loads all classes that a server or client may use when the first of its kind is made.
 *
 * <p>A class that is loaded at its first use may fail then: in a directory it takes a file
 * descriptor, and there may be none; a jar may have been replaced by that of the next release. The
 * JVM remembers such a failure forever, and the server could no longer be stopped.
 *
 * <p>Costs 30 to 60 ms of processor time, of which a first request would cost more than half.
 */
public final class LoadAhead {
    /** Written by the build. A native image has neither the list nor a need for it. */
    private static final String LIST = "classes.txt";

    private static final String SERVER = "org.httpkit.server.";
    private static final String CLIENT = "org.httpkit.client.";

    /** Whose classes were left out when all others were loaded. */
    private static final Set<String> LEFT_OUT = ConcurrentHashMap.newKeySet();

    private LoadAhead() {}

    public static void forServers() {
        allBut(CLIENT);
    }

    public static void forClients() {
        allBut(SERVER);
    }

    private static void allBut(String others) {
        if (!LEFT_OUT.contains(others)) {
            try (InputStream in = LoadAhead.class.getResourceAsStream(LIST)) {
                if (in != null) {
                    String names = new String(in.readAllBytes(), StandardCharsets.UTF_8);
                    for (String name : names.split("\n")) {
                        if (!name.startsWith(others)) {
                            load(name);
                        }
                    }
                }
                LEFT_OUT.add(others);
            } catch (IOException e) {
                // They are loaded when they are used, or with the next server or client.
            }
        }
    }

    private static void load(String name) {
        try {
            Class.forName(name, false, LoadAhead.class.getClassLoader());
        } catch (ClassNotFoundException | LinkageError e) {
            // An application's build may have removed or renamed it.
        }
    }
}
