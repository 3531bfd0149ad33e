(ns ^:no-doc org.httpkit.ring-streams
  "Ring's StreamableResponseBody. Loaded by `org.httpkit.server.config` when the
  protocol is on the classpath. Not API."
  (:require [ring.core.protocols :as protocols]))

(defn streamable?
  "Can Ring write this body?"
  [body]
  (satisfies? protocols/StreamableResponseBody body))

(defn streams-itself?
  "Does the class of this body implement the protocol? Then that goes before what it
  is to the server, such as the map that each record is."
  [body]
  (or (instance? (:on-interface protocols/StreamableResponseBody) body)
      (and (record? body) (streamable? body))))

(defn write
  "Writes `body` to `output-stream`, on this thread."
  [body response output-stream]
  (protocols/write-body-to-stream body response output-stream))
