(ns bench.ours
  "This project's server with the benchmark's handlers and default options. Prints `port <n>`."
  (:require [bench.handlers     :as handlers]
            [org.httpkit.server :as server]))

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

(defn -main [& [port]]
  (let [app    (handlers/app {"/chunks" chunks, "/ws" (websocket 1), "/ws-twice" (websocket 2)})
        server (server/run-server app {:port (parse-long (or port "0")), :legacy-return-value? false})]
    (println "port" (server/server-port server))))
