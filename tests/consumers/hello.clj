;; What a consumer's first program does: start a server, ask it, stop it. Prints one map.
(require '[org.httpkit.server :as server]
         '[org.httpkit.utils  :as utils])

(def stop!
  (server/run-server (fn [req] {:status 200 :body (str "hello " (:uri req))})
                     {:port 0 :ip "127.0.0.1"}))

(prn {:body (slurp (str "http://127.0.0.1:" (:local-port (meta stop!)) "/world"))
      :file (:file (utils/native-info))})

(stop!)
(shutdown-agents)
