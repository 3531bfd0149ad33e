(ns sse
  "Server-sent events: one timer thread, any number of open streams.

  In a browser: new EventSource('/events').onmessage = e => console.log(e.data)"
  (:require [org.httpkit.server :as server])
  (:import (java.util.concurrent Executors ScheduledExecutorService TimeUnit)))

(defn- event [data]
  (str "data: " data "\n\n"))

(defn- events
  "Opens a stream. Its head is sent at once; whatever is sent later follows as it comes."
  [request streams]
  (server/as-channel request
    {:on-open  (fn [channel]
                 (server/send! channel
                               {:status  200
                                :headers {"Content-Type" "text/event-stream", "Cache-Control" "no-cache"}
                                :body    (event "welcome")}
                               false)                          ; false: the response goes on
                 (swap! streams conj channel))
     :on-close (fn [channel _status] (swap! streams disj channel))}))

(defn- tick [streams]
  (doseq [channel @streams]
    (server/send! channel (event (System/currentTimeMillis)) false)))

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
