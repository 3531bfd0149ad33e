(ns bench.ours
  "This project's server with the benchmark's handlers and default options. Prints `port <n>`, and `tls-port <n>` if the
  property `bench.tls` names a directory with a certificate."
  (:require [bench.handlers     :as handlers]
            [org.httpkit.server :as server])
  (:import [java.util Set]
           [java.util.concurrent ConcurrentHashMap Executors]))

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

(def ^:private pass-on
  "Sends a message to all members: with `broadcast!`, or in a loop if these jars have none."
  (or (some-> (resolve 'org.httpkit.server/broadcast!) deref)
      (fn [members message]
        (doseq [ch members]
          (server/send! ch message)))))

(defn- group
  "WebSockets. A message of one character is answered, any other is passed on to all."
  []
  (let [^Set members (ConcurrentHashMap/newKeySet)]
    (fn [request]
      (server/as-channel request
        {:on-open    (fn [ch] (.add members ch))
         :on-close   (fn [ch _] (.remove members ch))
         :on-receive (fn [ch message]
                       (if (= 1 (count message))
                         (server/send! ch message)
                         (pass-on members message)))}))))

(defn- options
  "Of a variant of the server: those with a user's own `:worker-pool`, and one without the limits that apply by default."
  [variant]
  (case variant
    nil            {}
    "fixed pool"   {:worker-pool (Executors/newFixedThreadPool 32)}
    ;; Compiled on JDKs without it, too.
    "virtual pool" {:worker-pool (.invoke (.getMethod Executors "newVirtualThreadPerTaskExecutor" (make-array Class 0))
                                          nil (object-array 0))}
    "no limits"    {:legacy-timeouts? true, :max-header-bytes nil, :max-buffered-bytes nil}))

(defn- tls []
  (when-let [directory (System/getProperty "bench.tls")]
    {:ssl-port 0, :tls {:cert (str directory "/cert.pem"), :key (str directory "/key.pem")}}))

(defn -main
  "`variant`, if there is one: \"fixed pool\", \"virtual pool\" or \"no limits\"."
  [& [port variant]]
  (let [app    (handlers/app {"/chunks" chunks, "/ws" (websocket 1), "/ws-twice" (websocket 2), "/ws-all" (group)})
        server (server/run-server app
                 (merge {:port (parse-long (or port "0")), :legacy-return-value? false} (tls) (options variant)))]
    (when (tls)
      ;; Earlier builds, which are measured too, have no such function.
      (println "tls-port" ((requiring-resolve 'org.httpkit.server/server-ssl-port) server)))
    (println "port" (server/server-port server))))
