package org.httpkit;

import static java.nio.charset.StandardCharsets.US_ASCII;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;

/** Encodes one whole response, with framing that always matches the body. */
final class ResponseEncoder {
    private static final String LENGTH = "content-length";

    private final HeaderMap headers;
    private final String serverHeader;
    private final boolean keepLength;
    private final boolean headRequest;

    /**
     * @param keepLength whether a given Content-Length overrides the body's
     */
    ResponseEncoder(
            HeaderMap headers, String serverHeader, boolean keepLength, boolean headRequest) {
        this.headers = headers;
        this.serverHeader = serverHeader;
        this.keepLength = keepLength;
        this.headRequest = headRequest;
    }

    ByteBuffer[] encode(int status, Object body) {
        Object givenLength = HeaderValues.single(headers.getIgnoringCase(LENGTH));
        headers.removeIgnoringCase(LENGTH);
        headers.removeIgnoringCase("Transfer-Encoding");
        ByteBuffer content = null;
        try {
            content = Bodyless.is(status) ? discard(body) : HttpUtils.bodyBuffer(body);
            putLength(status, givenLength, content);
        } catch (IOException unreadable) {
            status = 500;
            headers.clear();
            String text = HttpUtils.unreadableMessage(unreadable);
            content = ByteBuffer.wrap(text.getBytes(US_ASCII));
            headers.put(LENGTH, content.remaining());
        }
        addAutomatic();
        ByteBuffer head = head(status);
        return content == null || headRequest
                ? new ByteBuffer[] {head}
                : new ByteBuffer[] {head, content};
    }

    private static ByteBuffer discard(Object body) throws IOException {
        if (body instanceof InputStream) {
            ((InputStream) body).close();
        }
        return null;
    }

    private void putLength(int status, Object given, ByteBuffer content) {
        if (status < 200 || status == 204) {
            return;
        }
        if (keepLength && status != 205 && isLength(given)) {
            headers.put(LENGTH, given);
        } else if (status != 304) {
            headers.put(LENGTH, content == null ? 0 : content.remaining());
        }
    }

    private static boolean isLength(Object given) {
        return given != null && given.toString().matches("[0-9]+");
    }

    private void addAutomatic() {
        if (serverHeader != null && !headers.containsKey("Server")) {
            headers.put("Server", serverHeader);
        }
        if (!headers.containsKey("Date")) {
            headers.put("Date", HttpDate.now());
        }
    }

    private ByteBuffer head(int status) {
        DynamicBytes out = new DynamicBytes(256);
        out.append("HTTP/1.1 ").append(HttpStatus.valueOf(status).toString());
        out.append((byte) '\r', (byte) '\n');
        headers.encodeHeaders(out);
        return ByteBuffer.wrap(out.get(), 0, out.length());
    }
}
