(ns httpkit.keep-alive
  "A client that keeps its connection until the server ends it, for stops under load."
  (:require [httpkit.wire :as wire])
  (:import (java.util.concurrent CountDownLatch TimeUnit)))

(set! *warn-on-reflection* true)

(defn- client
  "Sends requests, each on the connection of the one before unless that was said to end, to the first of `ports` that can
  be connected to, until `over?` is true and the last of them responds. Counts `begun` down with the first response.
  Returns the number of responses from each and, as `:reset`, how often a new connection was reset before its first
  response; or what went wrong."
  [ports over? ^CountDownLatch begun]
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
            (let [served (update served port (fnil inc 0))
                  done?  (and @over? (= port (peek ports)))]
              (when (= 1 (reduce + (vals (dissoc served :reset)))) (.countDown begun))
              (when (or ended? done?) (close conn))
              (if done?
                served
                (recur (if ended? (connected) [port conn]) ended? served sent)))))))))

(defn clients
  "`n` clients, each a future of what it returns, once each of them has had a response."
  [n ports over?]
  (let [begun (CountDownLatch. n)
        all   (doall (repeatedly n #(client ports over? begun)))]
    (.await begun wire/patience-ms TimeUnit/MILLISECONDS)
    all))
