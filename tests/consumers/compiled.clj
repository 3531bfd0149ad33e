;; What a program that was compiled ahead of time does, run without sources. Prints one map.
(require '[org.httpkit.server :as server]
         '[org.httpkit.client :as client])

(defn handler [req]
  {:status 200 :body (str "hello " (:uri req))})

(def before (set (map ns-name (all-ns))))

(def stop! (server/run-server handler {:port 0 :ip "127.0.0.1"}))

(prn {:body          (:body @(client/get (str "http://127.0.0.1:" (:local-port (meta stop!)) "/world") {:as :text}))
      :loaded-by-use (remove before (map ns-name (all-ns)))
      :ring          (filter (set (map ns-name (all-ns))) '[org.httpkit.ring-websocket org.httpkit.ring-streams])})

(stop!)
(shutdown-agents)
