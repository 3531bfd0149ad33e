(ns long-polling
  "Long polling: GET waits for the next message, POST sends it to everyone who waits.

    curl localhost:8090/ & curl -d hello localhost:8090/"
  (:require [org.httpkit.server :as server]))

(def ^:private waiting (atom #{}))

(defn- response [status body]
  {:status status, :headers {"Content-Type" "text/plain; charset=utf-8", "Cache-Control" "no-store"}, :body body})

(defn- wait-for-message [request]
  (server/as-channel request
    {:on-open  (fn [channel] (swap! waiting conj channel))
     ;; Also called for clients that leave without a message.
     :on-close (fn [channel _status] (swap! waiting disj channel))}))

(defn- post-message [request]
  (let [message   (if-let [body (:body request)] (slurp body) "")
        ;; Each channel is taken out by one POST only: a channel takes one response.
        [taken _] (reset-vals! waiting #{})]
    (doseq [channel taken]
      (server/send! channel (response 200 message)))
    (response 200 (str "sent to " (count taken) "\n"))))

(defn app [request]
  (case (:request-method request)
    :get  (wait-for-message request)
    :post (post-message request)
    (response 405 "GET waits, POST sends\n")))

(defn start [options]
  (server/run-server #'app options))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090"))}))
