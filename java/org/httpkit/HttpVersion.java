package org.httpkit;

/** The two versions that are spoken here. */
public enum HttpVersion {
    HTTP_1_0,
    HTTP_1_1
}
