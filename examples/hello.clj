(ns hello
  "A Ring handler on a port: the smallest server."
  (:require [org.httpkit.server :as server]))

(defn app [request]
  {:status  200
   :headers {"Content-Type" "text/plain; charset=utf-8"}
   :body    (str "Hello, " (subs (:uri request) 1) "!")})

(defn start
  "Starts the server. Returns the function that stops it; `(stop! :timeout 1000)` lets running requests finish."
  [options]
  ;; The var, not its value: redefining `app` at a REPL changes what the running server does.
  (server/run-server #'app options))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090"))}))
