(ns ^:no-doc org.httpkit.ring-streams
  "Ring's StreamableResponseBody. Loaded by `org.httpkit.server.config` when the
  protocol is on the classpath. Not API."
  (:require [ring.core.protocols :as protocols]))

(defn streamable?
  "Can Ring write this body?"
  [body]
  (satisfies? protocols/StreamableResponseBody body))

(defn write
  "Writes `body` to `output-stream`, on this thread."
  [body response output-stream]
  (protocols/write-body-to-stream body response output-stream))
