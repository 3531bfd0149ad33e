(ns middleware
  "Ring's middleware works unchanged: a handler is a handler. Needs ring/ring-core."
  (:require [org.httpkit.server      :as server]
            [ring.middleware.cookies :refer [wrap-cookies]]
            [ring.middleware.params  :refer [wrap-params]]))

(defn visits [{:keys [cookies params]}]
  (let [n    (inc (Long/parseLong (or (re-matches #"\d{1,9}" (get-in cookies ["visits" :value] "")) "0")))
        name (get params "name" "stranger")]
    {:status  200
     :headers {"Content-Type" "text/plain; charset=utf-8"}
     :cookies {"visits" {:value (str n) :http-only true}}
     :body    (str "Hello, " name ". Visit " n ".")}))

(defn wrap-error-page
  "An error page of our own. Without it the server responds with a 500 that carries the exception's message."
  [handler]
  (fn [request]
    (try
      (handler request)
      (catch Exception e
        (println "failed:" (:uri request) (ex-message e))
        {:status 500, :headers {"Content-Type" "text/plain"}, :body "Something went wrong."}))))

(def app (-> visits wrap-cookies wrap-params wrap-error-page))

(defn start [options]
  (server/run-server app options))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090"))}))
