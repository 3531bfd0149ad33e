package org.httpkit;

/** The two supported versions. */
public enum HttpVersion {
    HTTP_1_0,
    HTTP_1_1
}
