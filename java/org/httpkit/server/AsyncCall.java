package org.httpkit.server;

import clojure.lang.AFn;
import clojure.lang.IFn;

import java.util.concurrent.atomic.AtomicBoolean;

/**
 * One call of a Ring handler, which ends by {@code respond}, by {@code raise} or by throwing. The
 * first of these counts; later ones are silently ignored.
 */
abstract class AsyncCall {
    private final AtomicBoolean over = new AtomicBoolean();

    /**
     * The handler's response. Kept here and in no local variable, and cleared when its body is
     * streamed: a lazy seq may be longer than the heap if nothing holds its head.
     */
    Object response;

    /** Sends {@link #response}. */
    abstract void respond();

    /** Responds with 500. */
    abstract void raised(Throwable e);

    /** One of the two above has thrown: no response will be sent. */
    abstract void lost(Throwable e);

    /** Never throws. */
    final void callAsync(IFn handler, Object request) {
        IFn raise = once(this::raise);
        try {
            handler.invoke(request, once(this::respond), raise);
        } catch (Throwable e) {
            raise.invoke(e);
        }
    }

    private IFn once(Runnable action) {
        return new AFn() {
            @Override
            public Object invoke(Object value) {
                if (over.compareAndSet(false, true)) {
                    response = value;
                    value = null;
                    perform(action);
                }
                return null;
            }
        };
    }

    private void perform(Runnable action) {
        try {
            action.run();
        } catch (Throwable e) {
            lost(e);
        }
    }

    private void raise() {
        raised(
                response instanceof Throwable
                        ? (Throwable) response
                        : new IllegalArgumentException(
                                "Ring async raise value must be a Throwable"));
    }
}
