package org.httpkit.jni;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/**
 * Loads all classes that a server or a client may use, when the first one is made.
 *
 * <p>A class that is loaded at its first use may fail then: in a directory it takes a file
 * descriptor, and there may be none; a jar may have been replaced by that of the next release. The
 * JVM remembers such a failure for ever, and a server could not be stopped any more.
 *
 * <p>Costs 30 to 60 ms of processor time, of which a first request would cost more than half.
 */
public final class LoadAhead {
    /** Written by the build. A native image has neither the list nor a need for it. */
    private static final String LIST = "classes.txt";

    private static final String SERVER = "org.httpkit.server.";
    private static final String CLIENT = "org.httpkit.client.";

    private static final Set<String> LEFT_OUT = ConcurrentHashMap.newKeySet();

    private LoadAhead() {}

    public static void forServers() {
        allBut(CLIENT);
    }

    public static void forClients() {
        allBut(SERVER);
    }

    private static void allBut(String others) {
        if (LEFT_OUT.add(others)) {
            try (InputStream in = LoadAhead.class.getResourceAsStream(LIST)) {
                if (in != null) {
                    new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8))
                            .lines()
                            .filter(name -> !name.startsWith(others))
                            .forEach(LoadAhead::load);
                }
            } catch (IOException e) {
                // They are loaded when they are used.
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
