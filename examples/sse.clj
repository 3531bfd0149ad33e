(ns sse
  "Server-sent events: one timer thread, any number of open streams.

  In a browser: new EventSource('/events').onmessage = e => console.log(e.data)"
  (:require [org.httpkit.server :as server]
            [org.httpkit.sse    :as sse])
  (:import (java.util.concurrent Executors ScheduledExecutorService TimeUnit)))

(defn- events
  "Opens a stream. Its head is sent immediately, and each event when it is sent."
  [request streams]
  (sse/stream request
    {:heartbeat 15000
     :on-open   (fn [stream]
                  (sse/send! stream {:data (if-let [id (sse/last-event-id request)]
                                             (str "welcome back, your last tick was " id)
                                             "welcome")})
                  (swap! streams conj stream))
     :on-close  (fn [stream _status] (swap! streams disj stream))}))

(defn- tick [streams]
  (let [now (System/currentTimeMillis)]
    (sse/broadcast! @streams {:event "tick", :id now, :data (str now)})))

(defn start
  "Starts the server and the timer, which ticks every `:tick-ms` (default 1000). Returns a function that stops both."
  [options]
  (let [streams                         (atom #{})
        ^ScheduledExecutorService timer (Executors/newSingleThreadScheduledExecutor)
        period                          (long (:tick-ms options 1000))
        stop!                           (server/run-server #(events % streams) (dissoc options :tick-ms))]
    (.scheduleAtFixedRate timer ^Runnable #(tick streams) period period TimeUnit/MILLISECONDS)
    (with-meta (fn [& args] (.shutdownNow timer) (apply stop! args))
      (meta stop!))))

(defn -main [& [port]]
  (start {:port (Long/parseLong (or port "8090"))}))
