package org.httpkit.server;

import org.httpkit.jni.Native;

/** The header names that requests carry as a number. */
final class HeaderNames {
    /** Lower case; the native side's own table, so that the two cannot differ. */
    static final String[] KNOWN = known();

    private HeaderNames() {}

    private static String[] known() {
        String[] names = Native.knownHeaders().split("\n");
        for (int i = 0; i < names.length; i++) {
            names[i] = names[i].intern(); // equal to the literals in user code by identity
        }
        return names;
    }
}
