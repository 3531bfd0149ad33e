(ns bench.ours
  "This project's server with the benchmark's handlers and default options. Prints `port <n>`, and `tls-port <n>` if the
  property `bench.tls` names a directory with a certificate."
  (:require [bench.handlers     :as handlers]
            [org.httpkit.server :as server])
  (:import [java.util.concurrent Executors]))

(defn- chunks [request]
  (server/as-channel request
    {:on-open (fn [ch]
                (server/send! ch {:status 200, :headers {"Content-Type" "text/plain"}, :body handlers/chunk-text} false)
                (dotimes [_ 9]
                  (server/send! ch handlers/chunk-text false))
                (server/close ch))}))

(defn- websocket [times]
  (fn [request]
    (server/as-channel request
      {:on-receive (fn [ch message]
                     (dotimes [_ times]
                       (server/send! ch message)))})))

(defn- pool
  "A user's own `:worker-pool`."
  [kind]
  (case kind
    "fixed"   (Executors/newFixedThreadPool 32)
    ;; Compiled on JDKs without it, too.
    "virtual" (.invoke (.getMethod Executors "newVirtualThreadPerTaskExecutor" (make-array Class 0)) nil (object-array 0))))

(defn- tls []
  (when-let [directory (System/getProperty "bench.tls")]
    {:ssl-port 0, :tls {:cert (str directory "/cert.pem"), :key (str directory "/key.pem")}}))

(defn -main
  "`own-pool`, if there is one: `fixed` or `virtual`."
  [& [port own-pool]]
  (let [app    (handlers/app {"/chunks" chunks, "/ws" (websocket 1), "/ws-twice" (websocket 2)})
        server (server/run-server app
                 (cond-> (merge {:port (parse-long (or port "0")), :legacy-return-value? false} (tls))
                   own-pool (assoc :worker-pool (pool own-pool))))]
    (when (tls)
      ;; Earlier builds, which are measured too, have no such function.
      (println "tls-port" ((requiring-resolve 'org.httpkit.server/server-ssl-port) server)))
    (println "port" (server/server-port server))))
