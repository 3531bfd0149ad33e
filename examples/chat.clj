(ns chat
  "A chat room over WebSockets: what one sends, all receive."
  (:require [org.httpkit.server :as server]))

(def ^:private open-channels (atom #{}))

(defn- tell-all [message]
  (server/broadcast! @open-channels message))

(defn app [request]
  (if (:websocket? request)
    (server/as-channel request
      {:on-open    (fn [channel]
                     (swap! open-channels conj channel)
                     (tell-all (str (count @open-channels) " here")))
       :on-receive (fn [_ message] (tell-all message))
       ;; Called exactly once for each channel, for whatever reason it closes.
       :on-close   (fn [channel _status]
                     (swap! open-channels disj channel)
                     (tell-all (str (count @open-channels) " here")))
       ;; A peer that vanished without a word is noticed, and proxies do not close a quiet connection.
       :ping-interval 30000})
    {:status 426, :headers {"Content-Type" "text/plain", "Upgrade" "websocket"}, :body "Connect with a WebSocket."}))

(defn start [options]
  (server/run-server #'app options))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090"))}))
