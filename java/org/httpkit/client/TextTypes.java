package org.httpkit.client;

import org.httpkit.DynamicBytes;
import org.httpkit.HttpUtils;

import java.nio.charset.Charset;
import java.util.Locale;
import java.util.Map;

/**
 * Which responses are text, and in which charset.
 *
 * <p>The types are cases of a switch: a set would be made at the first response, which may find no
 * memory for it.
 */
final class TextTypes {
    private static final int CHARSET_LOOK_AHEAD = 512;
    private static final String OPEN_XML = "application/vnd.openxmlformats-officedocument.";
    private static final String OPEN_TEXT = "application/vnd.oasis.opendocument.text";

    private TextTypes() {}

    /** The rule of {@code :as :auto}: all but 200 is text, a 200 is text if its type says so. */
    static boolean isText(int code, String contentType) {
        if (code != 200) {
            return true;
        }
        if (contentType == null) {
            return false;
        }
        String lower = contentType.toLowerCase(Locale.ROOT);
        int semicolon = lower.indexOf(';');
        String type = (semicolon < 0 ? lower : lower.substring(0, semicolon)).trim();
        return (type.contains("text") || type.contains("json") || type.contains("xml"))
                && !isBinaryXml(type);
    }

    private static boolean isBinaryXml(String type) {
        switch (type) {
            case "image/svg+xml":
            case OPEN_XML + "wordprocessingml.document":
            case OPEN_XML + "wordprocessingml.template":
            case OPEN_XML + "spreadsheetml.sheet":
            case OPEN_XML + "spreadsheetml.template":
            case OPEN_XML + "presentationml.presentation":
            case OPEN_XML + "presentationml.slide":
            case OPEN_XML + "presentationml.slideshow":
            case OPEN_XML + "presentationml.template":
            case OPEN_TEXT:
            case OPEN_TEXT + "-template":
            case OPEN_TEXT + "-web":
            case OPEN_TEXT + "-master":
                return true;
            default:
                return false;
        }
    }

    static Charset charset(Map<String, Object> headers, byte[] bytes) {
        int looked = Math.min(bytes.length, CHARSET_LOOK_AHEAD);
        return HttpUtils.detectCharset(headers, new DynamicBytes(looked).append(bytes, looked));
    }
}
