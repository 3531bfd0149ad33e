(ns ring.core.protocols
  "Stand-in for ring-core's namespace of the same name. For tests only.")

(defprotocol StreamableResponseBody
  (write-body-to-stream [body response output-stream]))
