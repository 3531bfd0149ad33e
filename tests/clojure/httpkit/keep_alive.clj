(ns httpkit.keep-alive
  "A client that keeps its connection until the server ends it, for stops under load."
  (:require [httpkit.wire :as wire]))

(set! *warn-on-reflection* true)

(defn client
  "Sends requests until `over?` is true, each on the connection of the one before unless that was said to end, to the
  first of `ports` that can be connected to. Returns the number of responses from each and, as `:reset`, how often a new
  connection was reset before its first response; or what went wrong."
  [ports over?]
  (future
    (let [connected (fn [] (some #(try [% (wire/connect %)] (catch java.net.SocketException _ nil)) ports))
          close     (fn [^java.io.Closeable conn] (.close conn))]
      (loop [[port conn] (connected), new? true, served {}, before (System/nanoTime)]
        (let [sent      (System/nanoTime)
              answer    (do (wire/send! conn (wire/get-request "/"))
                            (try (wire/answer conn) (catch Exception e e)))
              ended?    (= "Close" (get-in answer [:headers "connection"]))
              ;; From the request before, at the latest: this thread may have been kept from reading its response.
              silent-ms (quot (- (System/nanoTime) (long before)) 1000000)]
          (cond
            ;; On a machine under load we may have been as silent as a client that has no more to say.
            (and (or (= :closed answer) (= 503 (:status answer))) (< 400 silent-ms))
            (do (close conn) (recur (connected) true served (System/nanoTime)))

            ;; The kernel resets what it has completed between the last accept and the listener's end.
            (and (= :closed answer) new?)
            (do (close conn) (recur (connected) true (update served :reset (fnil inc 0)) (System/nanoTime)))

            (not= [200 "done"] [(:status answer) (:body answer)])
            (do (close conn) {:wrong answer :from port :silent-ms silent-ms})

            :else
            (let [served (update served port (fnil inc 0))]
              (when (or ended? @over?) (close conn))
              (if @over?
                served
                (recur (if ended? (connected) [port conn]) ended? served sent)))))))))
